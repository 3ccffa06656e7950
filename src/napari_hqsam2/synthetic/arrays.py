"""Array aliases of the generator: it computes in float32 throughout."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

F32Array: TypeAlias = npt.NDArray[np.float32]
F64Array: TypeAlias = npt.NDArray[np.float64]
I32Array: TypeAlias = npt.NDArray[np.int32]
U16Array: TypeAlias = npt.NDArray[np.uint16]
