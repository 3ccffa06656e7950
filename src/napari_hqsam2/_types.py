"""Type aliases shared by the whole package."""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

AnyArray: TypeAlias = npt.NDArray[Any]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
LabelArray: TypeAlias = npt.NDArray[np.integer[Any]]
HW: TypeAlias = tuple[int, int]
Limits: TypeAlias = tuple[float, float]
Direction: TypeAlias = Literal["forward", "backward", "both"]
CropMode: TypeAlias = Literal["auto", "off"] | int
"""Whether objects are looked at in windows; a number is their side in pixels."""
Overlap: TypeAlias = Literal["protect", "overwrite", "ask"]
"""Whether pixels of other labels are kept, taken, or kept until somebody says so."""
