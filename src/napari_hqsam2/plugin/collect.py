"""From drawn points and shapes to prompts of objects on frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from skimage.draw import polygon2mask

from napari_hqsam2.errors import PromptError
from napari_hqsam2.geometry import (
    box_pixels,
    check_point,
    clip_box,
    rectangle_to_box,
)
from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_hqsam2._types import HW, BoolArray
    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.snapshots import Coordinates, PointSet, Shape

STROKE_POINTS = 8
"""Points taken evenly along a drawn line or path."""
_OWN_OBJECT = ("rectangle", "ellipse", "polygon")


@dataclass(frozen=True, slots=True)
class DrawnPrompts:
    """Prompts of one object on one frame, and what they were drawn as."""

    prompts: FramePrompts
    point_indices: tuple[int, ...]
    """Of the points layer."""
    shape_indices: tuple[int, ...]
    """Of the shapes layer."""


@dataclass(slots=True)
class _Draft:
    points: list[PointPrompt] = field(default_factory=list)
    point_indices: list[int] = field(default_factory=list)
    shape_indices: list[int] = field(default_factory=list)
    box: BoxPrompt | None = None
    mask: BoolArray | None = None
    cut: BoolArray | None = None


def collect_prompts(
    axes: NamedAxes,
    points: PointSet | None,
    shapes: Sequence[Shape],
    default_object: int = 1,
) -> tuple[DrawnPrompts, ...]:
    """Sort points and shapes by frame and object.

    Rectangles and ellipses are boxes, polygons are masks (a negative polygon is cut out
    of the positive one), lines and paths are strokes of points. Points without an
    object belong to `default_object`; a box or mask without one is an object of its
    own, counted up from `default_object`.

    Raises
    ------
    PromptError
        A prompt is not finite, lies outside the stack, spans frames, is a negative box,
        or is one box too many for its object and frame; or points without an object
        could belong to several shapes without one. The message names it.
    """
    collector = _Collector(axes, points, shapes, default_object)
    for index in range(len(points) if points is not None else 0):
        collector.add_point(index)
    for index in range(len(shapes)):
        collector.add_shape(index)
    return tuple(collector.finish())


class _Collector:
    def __init__(
        self,
        axes: NamedAxes,
        points: PointSet | None,
        shapes: Sequence[Shape],
        default_object: int,
    ) -> None:
        self._axes = axes
        self._points = points
        self._shapes = shapes
        self._default = default_object
        self._drafts: dict[tuple[tuple[int, ...], int], _Draft] = {}
        used = {shape.obj_id for shape in shapes} | set(
            points.obj_ids if points else ()
        )
        self._free_ids = (i for i in count(default_object) if i not in used)
        self._refuse_doubtful_points()

    @property
    def _hw(self) -> HW:
        return self._axes.stack.hw

    def _refuse_doubtful_points(self) -> None:
        loose_boxes = [
            s for s in self._shapes if not s.obj_id and s.kind in _OWN_OBJECT
        ]
        if len(loose_boxes) > 1 and self._points and 0 in self._points.obj_ids:
            msg = (
                f"{len(loose_boxes)} shapes and some points do not say which object "
                "they belong to. Fill features['object_id'] of the Points layer and "
                "of the Shapes layer with the same numbers."
            )
            raise PromptError(msg)

    def add_point(self, index: int) -> None:
        points = self._points
        if points is None:
            return
        name = f"Point {index}"
        place = points.coordinates[index]
        position = self._position(place[np.newaxis], name)
        prompt = PointPrompt(
            float(place[-2]), float(place[-1]), bool(points.positive[index])
        )
        self._check_inside(prompt, f"{name} on {self._axes.where(position)}")
        obj_id = points.obj_ids[index] or self._default
        draft = self._draft(position, obj_id)
        draft.points.append(prompt)
        draft.point_indices.append(index)

    def add_shape(self, index: int) -> None:
        shape = self._shapes[index]
        name = f"Shape {index} ({shape.kind})"
        position = self._position(shape.vertices, name)
        where = f"{name} on {self._axes.where(position)}"
        yx = shape.vertices[:, -2:]
        if shape.kind in ("rectangle", "ellipse"):
            draft = self._add_box(shape, position, yx, where)
        elif shape.kind == "polygon":
            draft = self._add_mask(shape, position, yx, where)
        else:
            draft = self._add_stroke(shape, position, yx, where)
        draft.shape_indices.append(index)

    def finish(self) -> Iterator[DrawnPrompts]:
        for (position, obj_id), draft in sorted(self._drafts.items()):
            mask = draft.mask
            if mask is not None and draft.cut is not None:
                mask = mask & ~draft.cut
            if draft.cut is not None and (mask is None or not mask.any()):
                msg = (
                    f"Object {obj_id} on {self._axes.where(position)} has a negative "
                    "polygon that leaves nothing; draw a positive polygon around it."
                )
                raise PromptError(msg)
            yield DrawnPrompts(
                FramePrompts(position, obj_id, tuple(draft.points), draft.box, mask),
                tuple(draft.point_indices),
                tuple(draft.shape_indices),
            )

    def _add_box(
        self, shape: Shape, position: tuple[int, ...], yx: Coordinates, where: str
    ) -> _Draft:
        if not shape.positive:
            msg = (
                f"{where} is a negative box, which the model does not know. Use "
                "negative points for what must be left out, or set its label to "
                "positive."
            )
            raise PromptError(msg)
        obj_id = shape.obj_id or next(self._free_ids)
        draft = self._draft(position, obj_id)
        if draft.box is not None:
            msg = (
                f"{where} is a second box for object {obj_id}. An object takes one box "
                "a frame: delete one, or give it another object_id."
            )
            raise PromptError(msg)
        draft.box = _cut_box(yx, self._hw, where)
        return draft

    def _add_mask(
        self, shape: Shape, position: tuple[int, ...], yx: Coordinates, where: str
    ) -> _Draft:
        mask: BoolArray = polygon2mask(self._hw, yx)
        if not mask.any():
            msg = (
                f"{where} holds no pixel of the image of {self._hw[0]} x {self._hw[1]} "
                "pixels; draw it larger, and inside the image."
            )
            raise PromptError(msg)
        obj_id = shape.obj_id or (
            next(self._free_ids) if shape.positive else self._default
        )
        draft = self._draft(position, obj_id)
        if shape.positive:
            draft.mask = mask if draft.mask is None else draft.mask | mask
        else:
            draft.cut = mask if draft.cut is None else draft.cut | mask
        return draft

    def _add_stroke(
        self, shape: Shape, position: tuple[int, ...], yx: Coordinates, where: str
    ) -> _Draft:
        draft = self._draft(position, shape.obj_id or self._default)
        for y, x in _along(yx, STROKE_POINTS):
            point = PointPrompt(float(y), float(x), shape.positive)
            self._check_inside(point, where)
            draft.points.append(point)
        return draft

    def _check_inside(self, point: PointPrompt, where: str) -> None:
        try:
            check_point(point, self._hw)
        except PromptError as error:
            text = _outside(where, (point.y, point.x), self._hw)
            raise PromptError(text) from error

    def _draft(self, position: tuple[int, ...], obj_id: int) -> _Draft:
        return self._drafts.setdefault((position, obj_id), _Draft())

    def _position(self, vertices: Coordinates, name: str) -> tuple[int, ...]:
        if not np.isfinite(vertices).all():
            msg = f"{name} has a coordinate that is not a number; delete it."
            raise PromptError(msg)
        frames = np.floor(vertices[:, :-2] + 0.5).astype(np.int64)
        stack = self._axes.stack
        if (frames != frames[:1]).any():
            msg = (
                f"{name} spans several frames ({stack.leading} from "
                f"{tuple(frames.min(axis=0).tolist())} to "
                f"{tuple(frames.max(axis=0).tolist())}); a prompt lies on one frame."
            )
            raise PromptError(msg)
        position = tuple(int(index) for index in frames[0])
        for letter, index, length in zip(
            stack.leading, position, stack.leading_shape, strict=True
        ):
            if not 0 <= index < length:
                msg = (
                    f"{name} lies at {self._axes.word(letter)} = {index}, outside the "
                    f"stack (0 to {length - 1}). Move it, or check the scale and "
                    "translate of its layer."
                )
                raise PromptError(msg)
        return position


def _cut_box(yx: Coordinates, hw: HW, where: str) -> BoxPrompt:
    try:
        box = rectangle_to_box(yx)
        box_pixels(box)
    except PromptError as error:
        msg = f"{where}: {error}"
        raise PromptError(msg) from error
    if box.y1 <= 0 or box.x1 <= 0 or box.y0 > hw[0] - 1 or box.x0 > hw[1] - 1:
        raise PromptError(_outside(where, (box.y0, box.x0), hw))
    return clip_box(box, hw)


def _outside(where: str, yx: tuple[float, float], hw: HW) -> str:
    return (
        f"{where} lies at (y, x) = ({yx[0]:.4g}, {yx[1]:.4g}), outside the image of "
        f"{hw[0]} x {hw[1]} pixels. Move or delete it, or check the scale and "
        "translate of its layer."
    )


def _along(yx: Coordinates, number: int) -> Coordinates:
    """Take up to `number` places evenly along a polyline of (V, 2) vertices."""
    lengths = np.linalg.norm(np.diff(yx, axis=0), axis=1)
    travelled = np.concatenate([[0.0], np.cumsum(lengths)])
    steps = np.linspace(0.0, travelled[-1], min(number, max(2, len(yx) * 2)))
    return np.stack([np.interp(steps, travelled, yx[:, k]) for k in (0, 1)], axis=1)
