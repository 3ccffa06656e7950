"""A session with its model: single frames, and runs through the stack."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack, get_args

from napari_hqsam2._types import Overlap
from napari_hqsam2.errors import PromptError
from napari_hqsam2.predictors.slow_reads import until_cancelled
from napari_hqsam2.segmentation.masks import ObjectMask
from napari_hqsam2.segmentation.options import HQ_MODES
from napari_hqsam2.session.history import Step
from napari_hqsam2.session.looking import SessionLooks
from napari_hqsam2.session.planning import corrections_to_segment, plan_runs
from napari_hqsam2.session.script import call, run_loop, run_options
from napari_hqsam2.session.settings import RunSettings, check_choice

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.session.anchors import Anchor, RunPlan
    from napari_hqsam2.session.records import (
        Box,
        FrameScores,
        PlacedPrompts,
        Position,
    )
    from napari_hqsam2.session.settings import RunOptions
    from napari_hqsam2.session.stacks import Line


@dataclass(frozen=True, slots=True)
class PropagationStep:
    """One frame of a run, which is in the labels already."""

    position: Position
    """Index of the frame along every leading axis."""
    axis: str
    """Letter of the axis of the run."""
    frame: int
    """Index of the frame along it."""
    dirty_box: Box | None
    """Top, left, bottom, right of the labels that changed; None if nothing did."""
    scores: tuple[FrameScores, ...]
    """Of the objects that were followed, sorted by id."""
    done: int
    """Frames that the run has done, this one included."""
    total: int
    """Frames that it will do if no object is left early."""


class SessionRuns(SessionLooks):
    """Frames and runs."""

    def segment(
        self,
        position: Sequence[int] | int,
        objects: Iterable[int] | None = None,
        *,
        hq_mode: HqMode | None = None,
        overlap: Overlap = "protect",
    ) -> tuple[FrameScores, ...]:
        """Segment one frame from its prompts; the result is in the labels at once.

        Parameters
        ----------
        position
            The frame.
        objects
            Objects to segment; None is all with a prompt there, locked ones apart.
        hq_mode, overlap
            As in `propagate`.

        Returns
        -------
        tuple of FrameScores
            Of the objects that were segmented, sorted by id.

        Raises
        ------
        PromptError
            An object has no prompt there, is locked there, or has negative points only
            and nothing that they correct.
        """
        place = self._stack.position(position)
        check_choice("overlap", overlap, get_args(Overlap))
        if hq_mode is not None:
            check_choice("hq_mode", hq_mode, HQ_MODES)
        return self._segment(place, objects, hq_mode, overlap)

    def _segment(
        self,
        place: Position,
        objects: Iterable[int] | None,
        hq_mode: HqMode | None,
        overlap: Overlap,
        *,
        keeps_claims: bool = False,
    ) -> tuple[FrameScores, ...]:
        with self._turn():
            prompts = self._prompts_on(place, objects)
            obj_ids = tuple(record.obj_id for record in prompts)
            options = run_options(hq_mode=hq_mode, overlap=overlap)
            script = call("segment", place, obj_ids, **options)
            with self._step("segment", script) as step:
                if not keeps_claims:
                    self._drop_claims(step)
                masks = self._predicted(prompts, hq_mode)
                self._paint(step, place, masks, overlap)
                by_id = {record.obj_id: record for record in prompts}
                kept = []
                for item in masks:
                    scores = self._keep_answer(step, item, by_id[item.obj_id])
                    self._claim(step, item, scores, overlap)
                    kept.append(scores)
                return tuple(kept)

    def propagate(
        self, axis: str | None = None, **options: Unpack[RunOptions]
    ) -> Generator[PropagationStep, None, None]:
        """Follow objects through the stack, frame by frame.

        What is asked for is checked before this returns; frames are read and segmented
        as steps are taken, and are in the labels when they come out. Closing the
        iterator ends the run; frames that are done stay. All of a run is one step of
        history.

        Parameters
        ----------
        axis
            Letter of the axis; None takes the last leading axis that is longer than one
            frame.
        **options
            See `RunOptions`.

        Yields
        ------
        PropagationStep
            In the order of processing: from the first prompts forward, then backward;
            a frame that is reached both ways comes twice.

        Raises
        ------
        StackError
            The stack has no such axis or frames, or a frame cannot be read.
        PromptError
            No object has anything to start from, or one has negative points only.
        """
        settings = RunSettings(**options)
        objects = None if settings.objects is None else self._chosen(settings.objects)
        at = None if settings.at is None else self._stack.position(settings.at)
        settings = replace(settings, objects=objects, at=at)
        with self._turn():
            letter = self._stack.axes.propagation_axis(axis)
            self._plans(letter, settings)
        return self._in_turns(self._run(letter, settings), settings.cancel or _never)

    def _plans(self, axis: str, settings: RunSettings) -> list[RunPlan]:
        return plan_runs(self._stack, self._records, self._store, axis, settings)

    def _in_turns(
        self,
        steps: Generator[PropagationStep, None, None],
        is_cancelled: Callable[[], bool],
    ) -> Generator[PropagationStep, None, None]:
        """The steps of a run, each in a turn of its own."""
        run = until_cancelled(steps, is_cancelled)
        try:
            while True:
                with self._turn(of_run=True):
                    step = next(run, None)
                if step is None:
                    return
                yield step
        finally:
            steps.close()

    def _run(
        self, axis: str, settings: RunSettings
    ) -> Generator[PropagationStep, None, None]:
        with self._turn():
            waiting = corrections_to_segment(self._records, self._plans(axis, settings))
            for number, (place, obj_ids) in enumerate(waiting.items()):
                self._segment(
                    place,
                    obj_ids,
                    settings.hq_mode,
                    settings.overlap,
                    keeps_claims=number > 0,
                )
            plans = [
                replace(plan, two_sided=self._tracker.is_two_sided)
                for plan in self._plans(axis, settings)
            ]
            step = Step("propagate", "", self._store)
            if not waiting:
                self._drop_claims(step)
            self._is_running = True
        done = 0
        is_whole = False
        try:
            for result in self._results(step, plans, settings):
                done += 1
                yield result
                if _is_over(settings, done):
                    break
            else:
                is_whole = True
        finally:
            self._is_running = False
            step.script = run_loop(axis, settings, None if is_whole else done)
            self._commit(step)
            self._tell(step, labels=False)

    def _results(
        self, step: Step, plans: Sequence[RunPlan], settings: RunSettings
    ) -> Iterator[PropagationStep]:
        total, done = sum(plan.num_steps for plan in plans), 0
        is_cancelled = settings.cancel or _never
        for plan in plans:
            modes = self._hq_modes(plan.first_frames(), settings.hq_mode)
            for frame, masks in self._tracker.follow(
                plan, modes, settings.stop_after_empty, is_cancelled
            ):
                done += 1
                here = [anchor for anchor in plan.anchors if anchor.frame == frame]
                shown = self._show(
                    step, plan.line, frame, masks, here, settings.overlap
                )
                yield replace(shown, done=done, total=total)
            if is_cancelled():
                return
            for anchor in plan.anchors:
                self._mark_followed(step, plan.line, anchor)

    def _show(
        self,
        step: Step,
        line: Line,
        frame: int,
        masks: Sequence[ObjectMask],
        anchors: Sequence[Anchor],
        overlap: Overlap,
    ) -> PropagationStep:
        """Put one frame of a run into labels and scores, and tell."""
        position = line.position(frame)
        patch = self._paint(step, position, masks, overlap)
        locked = self._records.locked_on(position)
        free = [item for item in masks if item.obj_id not in locked]
        fixed = [_as_it_is(anchor) for anchor in anchors if anchor.is_locked]
        by_id = {anchor.obj_id: anchor for anchor in anchors}
        shown = sorted([*free, *fixed], key=lambda item: item.obj_id)
        scores = tuple(
            self._keep_followed(step, item, position, line.axis, by_id.get(item.obj_id))
            for item in shown
        )
        for item, kept in zip(shown, scores, strict=True):
            self._claim(step, item, kept, overlap)
        box = None if patch is None else patch.box
        if box is not None:
            self.events.labels.emit(position, box)
        self.events.scores.emit(tuple(item.obj_id for item in scores))
        return PropagationStep(position, line.axis, frame, box, scores, 0, 0)

    def _prompts_on(
        self, position: Position, objects: Iterable[int] | None
    ) -> list[PlacedPrompts]:
        """Prompts to segment a frame from."""
        where = self._stack.axes.where(position) or "this image"
        locked = self._records.locked_on(position)
        found = []
        for obj_id in self._chosen(objects):
            record = self._records.prompts.get(obj_id, position)
            if record is not None and obj_id not in locked:
                found.append(record)
            elif objects is not None:
                why = "is locked" if obj_id in locked else "has no prompt"
                msg = f"Object {obj_id} {why} at {where}; it cannot be segmented there."
                raise PromptError(msg)
        if not found:
            msg = f"There is no prompt at {where}; add a point, a box or a mask."
            raise PromptError(msg)
        return found

    def _keep_answer(
        self, step: Step, item: ObjectMask, record: PlacedPrompts
    ) -> FrameScores:
        """Store the scores of an answer to prompts."""
        new = _scored(self._measured(item, record.position), record)
        old = self._records.scores.get(item.obj_id, record.position)
        is_same = old is not None and (old.prompts_key, old.mask_key) == (
            record.key,
            new.mask_key,
        )
        return self._keep(
            step,
            new,
            source="mask" if record.is_given else "prompt",
            prompts_key=record.key,
            followed=old.followed if old is not None and is_same else "",
        )

    def _keep_followed(
        self,
        step: Step,
        item: ObjectMask,
        position: Position,
        axis: str,
        anchor: Anchor | None,
    ) -> FrameScores:
        """Store the scores of a frame of a run; anchors keep what they have."""
        new = self._measured(item, position)
        if anchor is None:
            return self._keep(step, new, source="tracked", axis=axis, followed=axis)
        old = self._records.scores.get(item.obj_id, position)
        if old is not None and old.prompts_key == anchor.prompts_key:
            return self._keep(
                step,
                old,
                area=new.area,
                centroid=new.centroid,
                mask_key=new.mask_key,
            )
        new = _scored(new, self._records.prompts.get(item.obj_id, position))
        source = "mask" if anchor.clicks is None else "prompt"
        return self._keep(step, new, source=source, prompts_key=anchor.prompts_key)

    def _mark_followed(self, step: Step, line: Line, anchor: Anchor) -> None:
        """Note that a whole run has started from an anchor."""
        old = self._records.scores.get(anchor.obj_id, line.position(anchor.frame))
        if old is not None and line.axis not in old.followed:
            self._keep(step, old, followed=old.followed + line.axis)


def _as_it_is(anchor: Anchor) -> ObjectMask:
    """The mask of an anchor, without the model having been asked."""
    if anchor.mask is None:
        msg = "Only anchors with a mask are taken as they are."
        raise ValueError(msg)
    top, left = anchor.mask.box[:2]
    return ObjectMask(anchor.obj_id, top, left, anchor.mask.part(), float("inf"), 1.0)


def _scored(scores: FrameScores, record: PlacedPrompts | None) -> FrameScores:
    """Scores with what a model said of a given mask when it made it."""
    if record is None or not record.is_given or record.mask_score is None:
        return scores
    return replace(scores, iou_score=record.mask_score)


def _is_over(settings: RunSettings, done: int) -> bool:
    return done == settings.max_steps or bool(settings.cancel and settings.cancel())


def _never() -> bool:
    return False
