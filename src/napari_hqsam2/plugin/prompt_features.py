"""Reading polarity and object of prompts from the features table of a layer."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_hqsam2._types import BoolArray

LABEL = "label"
"""Feature column with "positive" or "negative"."""
OBJECT_ID = "object_id"
"""Feature column with the object a prompt belongs to."""
POSITIVE = "positive"
NEGATIVE = "negative"
POLARITY_COLUMNS = (LABEL, "polarity")
"""Feature columns that polarity is read from, the first one that is there."""
_POLARITIES = {
    **dict.fromkeys(
        (POSITIVE, "pos", "+", "true", "1", "1.0", "", "nan", "none"), True
    ),
    **dict.fromkeys((NEGATIVE, "neg", "-", "false", "0", "0.0", "-1", "-1.0"), False),
}


def read_polarity(
    features: Mapping[str, Sequence[Any]], count: int, layer: str
) -> BoolArray:
    """Read which prompts are positive, from column "label" or "polarity".

    Parameters
    ----------
    features
        Columns of the features table by name.
    count
        Number of prompts in the layer.
    layer
        Name of the layer, for messages.

    Returns
    -------
    ndarray
        (count,) bool. Without such a column, and where a value is missing, prompts are
        positive.

    Raises
    ------
    PromptError
        A value is neither positive nor negative.
    """
    column = next((name for name in POLARITY_COLUMNS if name in features), None)
    if column is None:
        return np.ones(count, dtype=np.bool_)
    values = list(features[column])
    unknown = sorted({str(v) for v in values if str(v).lower() not in _POLARITIES})
    if unknown:
        msg = (
            f"Layer '{layer}' has {unknown} in features[{column!r}]; "
            f"write {POSITIVE!r} (on the object) or {NEGATIVE!r} (not on it)."
        )
        raise PromptError(msg)
    return np.array([_POLARITIES[str(v).lower()] for v in values], dtype=np.bool_)


def read_object_ids(
    features: Mapping[str, Sequence[Any]], count: int, layer: str
) -> tuple[int, ...]:
    """Read the object of every prompt, from column "object_id"; 0 where none is given.

    Raises
    ------
    PromptError
        A value is not a whole number of 1 or more.
    """
    if OBJECT_ID not in features:
        return (0,) * count
    return tuple(_object_id(value, layer) for value in features[OBJECT_ID])


def _object_id(value: Any, layer: str) -> int:
    if value is None or str(value).lower() in ("", "nan", "none", "<na>"):
        return 0
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number == int(number) and number >= 1):
        msg = (
            f"Layer '{layer}' has {value!r} in features[{OBJECT_ID!r}]; an object id "
            "is a whole number of 1 or more: the label value of the object."
        )
        raise PromptError(msg)
    return int(number)
