"""Records of a session as plain values that JSON can hold, and back."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_hqsam2.prompts import BoxPrompt, PointPrompt
from napari_hqsam2.segmentation.options import HQ_MODES
from napari_hqsam2.session.packed_masks import PackedMask
from napari_hqsam2.session.prompt_values import mask_score
from napari_hqsam2.session.records import (
    FrameScores,
    PlacedPrompts,
    Track,
    TrackedObject,
)
from napari_hqsam2.session.settings import check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.session.label_store import LabelPatch
    from napari_hqsam2.session.records import Box, Position


@dataclass(frozen=True, slots=True, eq=False)
class StoredPixels:
    """Pixels of one frame as they were written into the labels."""

    position: Position
    box: Box
    dtype: np.dtype[Any]
    where: bytes
    """Compressed bits: the pixels of the box that were written."""
    values: bytes
    """Compressed labels of these pixels."""

    @classmethod
    def of(cls, patch: LabelPatch, *, is_undo: bool) -> Self:
        """What a patch wrote when it was done or undone."""
        where, values = patch.stored(is_undo=is_undo)
        return cls(patch.position, patch.box, patch.dtype, where, values)

    def to_plain(self) -> list[Any]:
        """Lists, numbers and text."""
        texts = [base64.b64encode(data).decode() for data in (self.where, self.values)]
        return [self.position, self.box, self.dtype.str, *texts]

    @classmethod
    def from_plain(cls, values: list[Any]) -> Self:
        """Read what `to_plain` gave.

        Raises
        ------
        ValueError, TypeError
            It is something else.
        """
        position, (top, left, bottom, right), dtype, *texts = values
        where, pixels = (base64.b64decode(text, validate=True) for text in texts)
        box = (int(top), int(left), int(bottom), int(right))
        kind = np.dtype(dtype)
        if kind.kind not in "iu":
            msg = f"labels of type {kind}"
            raise ValueError(msg)
        return cls(tuple(map(int, position)), box, kind, where, pixels)

    def apply(self, frame: LabelArray) -> None:
        """Write into an (H, W) frame.

        Raises
        ------
        ValueError
            The pixels do not fit it, or are damaged.
        """
        top, left, bottom, right = self.box
        height, width = frame.shape
        if not (0 <= top < bottom <= height and 0 <= left < right <= width):
            msg = f"a box {self.box} in a frame of {height} x {width} pixels"
            raise ValueError(msg)
        count = (bottom - top) * (right - left)
        bits = _unpacked(self.where, (count + 7) // 8)
        where = np.unpackbits(np.frombuffer(bits, np.uint8), count=count)
        number = int(np.count_nonzero(where))
        data = _unpacked(self.values, number * self.dtype.itemsize)
        region = frame[top:bottom, left:right]
        mask = where.astype(np.bool_).reshape(region.shape)
        region[mask] = np.frombuffer(data, self.dtype)


DAMAGE = (
    AttributeError,
    LookupError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)
"""What reading values that nobody has written may raise."""


SETTING_TYPES: dict[str, Any] = {
    "checkpoint": str | None,
    "contrast_limits": list | None,
    "channels": list | None,
    "gamma": int | float,
    "one_piece": bool,
    "resolution": int | None,
    "tracking": str | None,
}
"""Of settings, where making them does not look."""


def check_types(values: Mapping[str, Any], types: Mapping[str, Any]) -> None:
    """Refuse values of other types than those named, with TypeError."""
    for name, kind in types.items():
        value = values.get(name)
        if name in values and not isinstance(value, kind):
            msg = f"{name} is {value!r}"
            raise TypeError(msg)


def _unpacked(data: bytes, size: int) -> bytes:
    """Decompress, to this size and not more."""
    try:
        unpacked = zlib.decompressobj().decompress(data, size + 1)
    except zlib.error as error:
        msg = f"damaged pixels ({error})"
        raise ValueError(msg) from error
    if len(unpacked) != size:
        msg = f"{len(unpacked)} bytes of pixels in place of {size}"
        raise ValueError(msg)
    return unpacked


def to_plain(table: str, value: Any) -> Any:
    """A value of a table of `Records` as plain values; None stays None."""
    return None if value is None else TABLES[table][0](value)


def from_plain(table: str, value: Any) -> Any:
    """Read what `to_plain` gave.

    Raises
    ------
    Exception
        It is something else: one of `DAMAGE`.
    """
    return None if value is None else TABLES[table][1](value)


def _prompts_to(item: PlacedPrompts) -> dict[str, Any]:
    track = item.track
    scored = {} if item.mask_score is None else {"mask_score": item.mask_score}
    return {
        **scored,
        "obj_id": item.obj_id,
        "position": item.position,
        "points": [[p.y, p.x, p.positive] for p in item.points],
        "box": item.box and [item.box.y0, item.box.x0, item.box.y1, item.box.x1],
        "mask": item.mask and item.mask.text,
        "track": track
        and {
            "mask": track.mask.text,
            "scores": track.scores and _scores_to(track.scores),
        },
    }


def _prompts_from(item: Mapping[str, Any]) -> PlacedPrompts:
    track = item["track"]
    if track is not None:
        scores = track["scores"] and _scores_from(track["scores"])
        track = Track(PackedMask.from_text(track["mask"]), scores)
    return PlacedPrompts(
        int(item["obj_id"]),
        tuple(map(int, item["position"])),
        tuple(PointPrompt(*point) for point in item["points"]),
        item["box"] and BoxPrompt(*item["box"]),
        item["mask"] and PackedMask.from_text(item["mask"]),
        track,
        None if (score := item.get("mask_score")) is None else mask_score(score),
    )


def _scores_to(item: FrameScores) -> dict[str, Any]:
    """Values by name; JSON has neither infinity nor NaN, so both are null.

    The former is the score of a given mask, the latter one of an object of which the
    model gave no numbers.
    """
    values = {name: getattr(item, name) for name in _STORED}
    score = item.object_score
    return {**values, "object_score": score if math.isfinite(score) else None}


def _scores_from(values: Mapping[str, Any]) -> FrameScores:
    check_types(values, _SCORE_TYPES)
    score, centroid = values["object_score"], values["centroid"]
    no_score = math.nan if values["source"] == "tracked" else math.inf
    changes = {
        "obj_id": int(values["obj_id"]),
        "position": tuple(map(int, values["position"])),
        "object_score": no_score if score is None else score,
        "centroid": None if centroid is None else _pair(centroid),
    }
    return FrameScores(**{**values, **changes})


def _object_to(item: TrackedObject) -> dict[str, Any]:
    """Values by name; what earlier versions do not know only if it is there."""
    values = asdict(item)
    if item.hq_mode is None:
        del values["hq_mode"]
    return values


def _object_from(values: Mapping[str, Any]) -> TrackedObject:
    check_types(values, _OBJECT_TYPES)
    item = TrackedObject(**{**values, "obj_id": int(values["obj_id"])})
    if item.hq_mode is not None:
        check_choice("hq_mode", item.hq_mode, HQ_MODES)
    return item


def _pair(values: Any) -> tuple[float, float]:
    y, x = map(float, values)
    return y, x


_OBJECT_TYPES = {
    "name": str,
    "is_hidden": bool,
    "mother": int | None,
    "born": int | None,
    "hq_mode": str | None,
}
_SCORE_TYPES = {
    "object_score": int | float | None,
    "iou_score": int | float,
    "area": int,
    **dict.fromkeys(("source", "axis", "prompts_key", "mask_key", "followed"), str),
}
_STORED = tuple(
    field.name
    for field in fields(FrameScores)
    if field.name not in ("jump", "area_ratio")
)
TABLES: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "objects": (_object_to, _object_from),
    "prompts": (_prompts_to, _prompts_from),
    "locks": (bool, bool),
    "scores": (_scores_to, _scores_from),
}
"""There and back, for each table that is saved."""
