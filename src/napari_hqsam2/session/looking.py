"""What the model sees and says, without anything being changed by it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_hqsam2.prompts import PointPrompt
from napari_hqsam2.segmentation.prompt_groups import check_prompts
from napari_hqsam2.session.anchors import find_anchors
from napari_hqsam2.session.claims import SessionClaims
from napari_hqsam2.session.doubts import DoubtLimits, find_doubts, with_changes
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_hqsam2._types import Limits
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.segmentation.masks import ObjectMask
    from napari_hqsam2.session.anchors import Anchor
    from napari_hqsam2.session.doubts import Doubt
    from napari_hqsam2.session.model_view import ModelView
    from napari_hqsam2.session.records import FrameScores, PlacedPrompts
    from napari_hqsam2.session.stacks import Line


class SessionLooks(SessionClaims):
    """What the model has said, and questions to it."""

    def scores(self, obj_id: int) -> tuple[FrameScores, ...]:
        """Scores and sizes of an object, on every frame it was segmented on.

        Returns
        -------
        tuple of FrameScores
            Sorted by position; jump and area ratio compare with the frame before, along
            the axis of the run that gave the frame.
        """
        axes = self._stack.axes
        stored = self._records.scores.of(self._known(obj_id))
        return with_changes(stored, axes.leading, self._stack.default_axis())

    def scores_on(self, position: Sequence[int] | int) -> tuple[FrameScores, ...]:
        """Scores of all objects on one frame, sorted by object; see `scores`.

        `jump` and `area_ratio` are not filled.
        """
        place = self._stack.position(position)
        found = (self._records.scores.get(obj_id, place) for obj_id in self.obj_ids)
        return tuple(item for item in found if item is not None)

    def doubtful(
        self,
        objects: Iterable[int] | None = None,
        *,
        limits: DoubtLimits | None = None,
    ) -> tuple[Doubt, ...]:
        """Frames to look at, and why; locked and prompted ones are not doubted.

        Of the latter, masks that a model made (``add_mask(..., score=)``) are, if it
        was not sure.

        Parameters
        ----------
        objects
            Objects to look through; None is all.
        limits
            What is doubtful.

        Returns
        -------
        tuple of Doubt
            Sorted by position, then by object.
        """
        letters, axis = self._stack.axes.leading, self._stack.default_axis()
        height, width = self._stack.axes.hw
        doubts = [
            doubt
            for obj_id in self._chosen(objects)
            for doubt in find_doubts(
                self.scores(obj_id),
                letters,
                axis,
                limits or DoubtLimits(),
                height * width,
            )
            if not self._records.locks.get(obj_id, doubt.position)
        ]
        return tuple(sorted(doubts, key=lambda doubt: (doubt.position, doubt.obj_id)))

    def prepare(self, position: Sequence[int] | int) -> None:
        """Compute the image features of a frame, so that `segment` answers at once."""
        place = self._stack.position(position)
        with self._turn():
            line = self._stack.line(place, self._stack.default_axis())
            self._tracker.prepare(line, line.frame(place))

    def channel_ranges(self) -> tuple[Limits, ...]:
        """Values that each channel that is shown has, but for the outermost 0.1 %.

        A few frames are read. Limits for `configure`, where each of several stains is
        to be seen however dim it is.

        Returns
        -------
        tuple of (low, high)
            Of each channel.
        """
        with self._turn():
            return self._stack.channel_ranges()

    def oddity(self, position: Sequence[int] | int) -> str:
        """What is odd about a frame, in words; empty if nothing is, or if it is unread.

        It has one value everywhere, NaN or infinity, or lies outside the contrast
        limits. The words are the end of a sentence: "has the value 0 everywhere: ...".
        The first frame of a stack of which there is something to say is logged, too.

        Parameters
        ----------
        position
            The frame.
        """
        return self._stack.oddity(self._stack.position(position))

    def model_view(
        self, position: Sequence[int] | int, obj_id: int | None = None
    ) -> ModelView:
        """The picture that the model is given of a frame.

        Parameters
        ----------
        position
            The frame.
        obj_id
            An object whose window is shown, if it is looked at in one there; None shows
            the whole frame.
        """
        place = self._stack.position(position)
        prompt = box = None
        with self._turn():
            if obj_id is not None:
                record = self._records.prompts.get(self._known(obj_id), place)
                if record is not None and (record.points or record.box):
                    prompt = record.clicks()
                box = self._store.box_of(place, [obj_id])
            line = self._stack.line(place, self._stack.default_axis())
            return self._tracker.view(line, line.frame(place), prompt, box)

    def preview(
        self,
        obj_id: int,
        position: Sequence[int] | int,
        point: tuple[float, float],
        *,
        positive: bool = True,
        only_prepared: bool = False,
    ) -> PackedMask | None:
        """The mask that one more point would give; nothing changes.

        Parameters
        ----------
        obj_id
            The object, which need not be there yet.
        position
            The frame.
        point
            The place (y, x).
        positive
            Whether it lies on the object, or on what must be left out.
        only_prepared
            Whether to say nothing where image features would have to be computed first.

        Returns
        -------
        PackedMask or None
            What `segment` would paint where no other object is; None where the object
            is locked, and as `only_prepared` says.

        Raises
        ------
        PromptError
            The point lies outside the frame, or there are negative points only and
            nothing that they correct.
        """
        place = self._stack.position(position)
        with self._turn():
            if self._records.locks.get(obj_id, place):
                return None
            record = self._record_on(obj_id, place)
            added = PointPrompt(float(point[0]), float(point[1]), positive)
            record = replace(record, points=(*record.points, added))
            check_prompts([record.clicks()], self._stack.axes)
            if only_prepared and not self._is_prepared(record):
                return None
            (mask,) = self._predicted([record])
        hw = self._stack.axes.hw
        return PackedMask.placed(mask.mask, mask.top, mask.left, hw)

    def _is_prepared(self, record: PlacedPrompts) -> bool:
        """Whether nothing but the answer itself is to be computed."""
        line = self._line_of(record)
        has_others = bool(self._memories(record, line))
        return not has_others and self._tracker.has_features(record)

    def _predicted(
        self, prompts: Sequence[PlacedPrompts], hq_mode: HqMode | None = None
    ) -> tuple[ObjectMask, ...]:
        """What the model says to prompts that all lie on one frame."""
        asked: list[tuple[Line, PlacedPrompts]] = []
        memories: dict[Line, list[Anchor]] = {}
        for record in prompts:
            line = self._line_of(record)
            asked.append((line, record))
            memories.setdefault(line, []).extend(self._memories(record, line))
        modes = self._hq_modes((record.obj_id for record in prompts), hq_mode)
        return self._tracker.segment(asked, memories, modes)

    def _line_of(self, record: PlacedPrompts) -> Line:
        """Frames among which an object is looked for."""
        axis = _followed_along(record) or self._stack.default_axis()
        return self._stack.line(record.position, axis)

    def _memories(self, record: PlacedPrompts, line: Line) -> list[Anchor]:
        """Other conditioning frames of an object whose result is corrected."""
        if not _followed_along(record):
            return []
        frames, here = range(self._stack.length(line)), line.frame(record.position)
        anchors = find_anchors(self._records, self._store, line, frames, record.obj_id)
        return [anchor for anchor in anchors if anchor.frame != here]


def _followed_along(record: PlacedPrompts) -> str:
    """Axis of the run that prompts correct; empty if they correct none."""
    track = record.track and record.track.scores
    return track.axis if track and record.corrected is not None else ""
