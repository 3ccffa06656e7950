"""The prompts and locked frames of a session."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.errors import PromptError
from napari_hqsam2.prompts import BoxPrompt, PointPrompt
from napari_hqsam2.segmentation.masks import ObjectMask
from napari_hqsam2.segmentation.prompt_groups import check_prompts
from napari_hqsam2.session.joining import ObjectJoining
from napari_hqsam2.session.prompt_values import (
    along,
    mask_score,
    packed_mask,
    plain_box,
    point_rows,
    polygon_area,
)
from napari_hqsam2.session.records import PlacedPrompts, Track
from napari_hqsam2.session.script import call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import Position


class PromptEditing(ObjectJoining):
    """Prompts and locks; every call is one step of history.

    Coordinates are data space: (y, x) in pixel indices, pixel centres at whole numbers,
    boxes half-open. A position has one index for each leading axis, in their order; ()
    is the frame of a single image, and a plain number will do where there is one axis.

    Points on a frame that a run has reached, or that had the label before, correct what
    is there; points on a frame with a mask prompt correct that mask. A box says anew
    where the object is. The labels change with `segment` and `propagate`; when the
    last prompt of a frame goes, what was there before comes back at once.
    """

    def prompts(self, obj_id: int) -> tuple[PlacedPrompts, ...]:
        """Prompts of an object, sorted by position."""
        placed = self._records.prompts.of(self._known(obj_id))
        return tuple(placed[position] for position in sorted(placed))

    def locked(self, obj_id: int) -> tuple[Position, ...]:
        """Frames of an object that are locked, sorted."""
        return tuple(sorted(self._records.locks.of(self._known(obj_id))))

    def add_points(
        self, obj_id: int, points: npt.ArrayLike, *, positive: bool = True
    ) -> None:
        """Add points to those that an object has.

        Parameters
        ----------
        obj_id
            The object.
        points
            (P, D + 2): indices along the D leading axes, then y and x; or one of them.
        positive
            Whether they lie on the object, or on what must be left out.

        Raises
        ------
        PromptError
            A point lies outside the stack, or its frame is locked.
        """
        rows = point_rows(points, self._stack.axes)
        by_position: defaultdict[Position, list[PointPrompt]] = defaultdict(list)
        for row in rows.tolist():
            position = self._stack.position([int(np.floor(v + 0.5)) for v in row[:-2]])
            by_position[position].append(PointPrompt(row[-2], row[-1], positive))
        script = call("add_points", obj_id, rows, positive=positive)
        with self._step("add points", script) as step:
            for position, new in by_position.items():
                old = self._placed(obj_id, position).points
                self._place(step, obj_id, position, points=(*old, *new))

    def remove_points(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        indices: Iterable[int] | None = None,
    ) -> None:
        """Remove points of an object from a frame.

        Parameters
        ----------
        obj_id, position
            The object and the frame.
        indices
            Which points, in the order in which they were added; None is all.

        Raises
        ------
        PromptError
            There is no such point, or the frame is locked.
        """
        place = self._stack.position(position)
        chosen = None if indices is None else sorted(set(indices))
        script = call("remove_points", obj_id, place, chosen)
        with self._step("remove points", script) as step:
            old = self._placed(obj_id, place).points
            gone = range(len(old)) if chosen is None else chosen
            if not set(gone) <= set(range(len(old))) or not old:
                msg = (
                    f"Object {obj_id} has {len(old)} points on this frame; there is no "
                    f"point {chosen or 'to remove'}."
                )
                raise PromptError(msg)
            kept = tuple(point for i, point in enumerate(old) if i not in gone)
            self._place(step, obj_id, place, points=kept)

    def add_scribble(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        path: npt.ArrayLike,
        *,
        positive: bool = True,
    ) -> None:
        """Add points along a stroke.

        Parameters
        ----------
        obj_id, position
            The object and the frame.
        path
            (V, 2) vertices (y, x) of the stroke.
        positive
            As in `add_points`.
        """
        place = self._stack.position(position)
        places = along(path)
        leading = np.tile(np.array(place, dtype=np.float64), (len(places), 1))
        self.add_points(obj_id, np.hstack([leading, places]), positive=positive)

    def add_box(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        box: BoxPrompt | Sequence[float] | None,
    ) -> None:
        """Set the box of an object on a frame, or remove it with None.

        Parameters
        ----------
        obj_id, position
            The object and the frame.
        box
            (y0, x0, y1, x1), half-open; what lies outside the image is cut off.
        """
        place = self._stack.position(position)
        box = None if box is None else plain_box(box)
        with (
            self._turn(),
            self._step("box", call("add_box", obj_id, place, box)) as step,
        ):
            self._place(step, obj_id, place, box=box)

    def add_mask(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        mask: npt.ArrayLike | PackedMask | None,
        *,
        score: float | None = None,
    ) -> None:
        """Take a mask as the object itself on a frame, or remove it with None.

        Parameters
        ----------
        obj_id, position
            The object and the frame.
        mask
            (H, W) boolean.
        score
            IoU with the true object, 0 to 1, as the model that made the mask predicts:
            `ObjectMask.iou_score` of `propose_objects`. It is then in `scores`, and
            doubted where it is low. None is for masks that are right.

        Raises
        ------
        PromptError
            The mask has another shape or no pixel, the score is none, or the frame is
            locked.
        """
        place = self._stack.position(position)
        packed = packed_mask(mask, self._stack.axes.hw)
        given = {} if score is None else {"score": mask_score(score)}
        script = call("add_mask", obj_id, place, packed, **given)
        with self._turn(), self._step("mask", script) as step:
            score = None if packed is None else given.get("score")
            self._place(step, obj_id, place, mask=packed, mask_score=score)

    def add_polygon(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        vertices: npt.ArrayLike,
        *,
        positive: bool = True,
    ) -> None:
        """Add a polygon to the mask of an object on a frame, or cut it out.

        Parameters
        ----------
        obj_id, position
            The object and the frame.
        vertices
            (V, 2) corners (y, x).
        positive
            Whether the polygon is added or cut out.

        Raises
        ------
        PromptError
            The polygon holds no pixel, nothing is left of the mask, or the frame is
            locked.
        """
        place = self._stack.position(position)
        corners, area = polygon_area(vertices, self._stack.axes.hw)
        script = call("add_polygon", obj_id, place, corners, positive=positive)
        with self._step("polygon", script) as step:
            old = self._placed(obj_id, place).mask
            before = np.zeros_like(area) if old is None else old.unpacked()
            mask = before | area if positive else before & ~area
            self._place(
                step, obj_id, place, mask=packed_mask(mask, self._stack.axes.hw)
            )

    def set_prompts(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        *,
        points: Iterable[PointPrompt] = (),
        box: BoxPrompt | None = None,
        mask: npt.ArrayLike | PackedMask | None = None,
    ) -> None:
        """Replace all prompts of an object on a frame, as when some were moved."""
        place, packed = (
            self._stack.position(position),
            packed_mask(mask, self._stack.axes.hw),
        )
        points = tuple(PointPrompt(float(p.y), float(p.x), p.positive) for p in points)
        box = box and plain_box(box)
        script = call("set_prompts", obj_id, place, points=points, box=box, mask=packed)
        with self._step("prompts", script) as step:
            self._place(step, obj_id, place, points=points, box=box, mask=packed)

    def clear_prompts(
        self, obj_id: int, position: Sequence[int] | int | None = None
    ) -> None:
        """Remove all prompts of an object, on one frame or on all but locked ones."""
        script = call("clear_prompts", obj_id, position)
        with self._step("clear prompts", script) as step:
            obj_id = self._known(obj_id)
            places = (
                self._records.prompts.of(obj_id).keys()
                - self._records.locks.of(obj_id).keys()
                if position is None
                else [self._stack.position(position)]
            )
            for place in sorted(places):
                self._place(step, obj_id, place, points=(), box=None, mask=None)

    def lock(self, obj_id: int, position: Sequence[int] | int) -> None:
        """Accept a frame of an object as it is.

        No run and no prompt changes the object there any more, and no other object
        takes its pixels. In runs, the labels of the frame serve as a mask prompt.
        """
        self._set_lock(obj_id, position, "lock", is_locked=True)

    def unlock(self, obj_id: int, position: Sequence[int] | int) -> None:
        """Undo `lock`."""
        self._set_lock(obj_id, position, "unlock", is_locked=False)

    def _set_lock(
        self, obj_id: int, position: Sequence[int] | int, name: str, *, is_locked: bool
    ) -> None:
        place = self._stack.position(position)
        with self._step(name, call(name, obj_id, place)) as step:
            obj_id = self._known(obj_id)
            step.put(self._records.locks, obj_id, place, is_locked or None)
            self._store.note_frame(place)
            if not is_locked and self._records.prompts.get(obj_id, place) is None:
                self._unfollow_neighbours(step, obj_id, place)

    def _placed(self, obj_id: int, position: Position) -> PlacedPrompts:
        """Prompts of an object on a frame, maybe none."""
        return self._record_on(self._known(obj_id), position)

    def _record_on(self, obj_id: int, position: Position) -> PlacedPrompts:
        """The same of a label that need not be an object yet."""
        record = self._records.prompts.get(obj_id, position)
        if record is not None:
            return record
        mask = self._store.packed(position, obj_id)
        scores = self._records.scores.get(obj_id, position)
        track = Track(mask, scores) if mask else None
        return PlacedPrompts(obj_id, position, track=track)

    def _place(
        self, step: Step, obj_id: int, position: Position, **changes: Any
    ) -> None:
        """Change the prompts on a frame, and check them."""
        obj_id = self._known(obj_id)
        if self._records.locks.get(obj_id, position):
            where = self._stack.axes.where(position) or "this image"
            msg = (
                f"Object {obj_id} is locked (accepted) at {where}; unlock it there (K "
                "in the viewer) before you change its prompts."
            )
            raise PromptError(msg)
        old = self._record_on(obj_id, position)
        record = replace(old, **changes)
        if record.mask != old.mask and "mask_score" not in changes:
            record = replace(record, mask_score=None)
        if record.points or record.box:
            (checked,) = check_prompts([record.clicks()], self._stack.axes)
            record = replace(record, box=checked.box)
        if record.is_empty:
            step.put(self._records.prompts, obj_id, position, None)
            self._restore(step, record)
        else:
            step.put(self._records.prompts, obj_id, position, record)

    def _restore(self, step: Step, record: PlacedPrompts) -> None:
        """Take away what prompts gave that are gone."""
        obj_id, position = record.obj_id, record.position
        scores, track = self._records.scores.get(obj_id, position), record.track
        if scores is None or not scores.prompts_key:
            return
        self._unfollow_neighbours(step, obj_id, position)
        pixels = np.zeros((0, 0), dtype=np.bool_)
        if track is not None:
            pixels = track.mask.unpacked()
        item = ObjectMask(obj_id, 0, 0, pixels, 0.0, 0.0)
        self._paint(step, position, [item], "protect")
        old = None if track is None else track.scores
        step.put(self._records.scores, obj_id, position, old)

    def _unfollow_neighbours(self, step: Step, obj_id: int, position: Position) -> None:
        """Note that runs from a frame that is no anchor any more are out of date.

        The nearest prompted or locked frames on either side then count as changed.
        """
        table = self._records.scores
        scores = table.get(obj_id, position)
        prompts, locks = (
            self._records.prompts.of(obj_id),
            self._records.locks.of(obj_id),
        )
        for axis in "" if scores is None else scores.followed:
            line = self._stack.line(position, axis)
            here = line.frame(position)
            others = [line.frame(p) for p in {*prompts, *locks} if p in line]
            before = max((f for f in others if f < here), default=None)
            after = min((f for f in others if f > here), default=None)
            for frame in (before, after):
                old = None if frame is None else table.get(obj_id, line.position(frame))
                if old is not None:
                    followed = old.followed.replace(axis, "")
                    new = replace(old, followed=followed)
                    step.put(table, obj_id, old.position, new)
