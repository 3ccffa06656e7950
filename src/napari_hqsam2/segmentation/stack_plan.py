"""What is to be done with a stack, checked before anything is computed."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from napari_hqsam2.predictors.device_errors import device_errors_told
from napari_hqsam2.predictors.slow_reads import until_cancelled
from napari_hqsam2.segmentation.prompt_groups import (
    check_frames,
    check_prompts,
    group_prompts,
    plan_courses,
    resolve_frames,
)
from napari_hqsam2.segmentation.tracking import GroupRun

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_hqsam2._types import Direction
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.segmentation.courses import Courses
    from napari_hqsam2.segmentation.prompt_groups import PromptGroup
    from napari_hqsam2.segmentation.run_states import RunState, RunStep
    from napari_hqsam2.segmentation.stack_view import StackView
    from napari_hqsam2.segmentation.windows import WindowRule


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class StackPlan:
    """Groups of prompts and the frames that each is followed through."""

    view: StackView
    axis: str
    """Letter of the propagation axis."""
    frames: range
    """Frames along `axis` that may be looked at."""
    groups: tuple[PromptGroup, ...]
    direction: Direction

    def num_steps(self, predictor: SAM2VideoPredictor) -> int:
        """Number of frames that will be reported."""
        return sum(courses.num_steps for courses in self._courses(predictor))

    def _courses(self, predictor: SAM2VideoPredictor) -> Iterator[Courses]:
        """Of each group, the ways of its objects."""
        two_sided = predictor.config.moves_masks
        for group in self.groups:
            yield plan_courses(group, self.frames, self.direction, two_sided=two_sided)

    @property
    def obj_ids(self) -> tuple[int, ...]:
        """Ids of all objects, in ascending order."""
        prompts = chain.from_iterable(group.prompts for group in self.groups)
        return tuple(sorted({prompt.obj_id for prompt in prompts}))

    def results(
        self,
        predictor: SAM2VideoPredictor,
        limits: IntensityLimits,
        hq: HqMode,
        is_cancelled: Callable[[], bool],
        rule: WindowRule | None = None,
        after: RunState | None = None,
    ) -> Iterator[RunStep]:
        """Work group by group, frame by frame, until done or cancelled.

        `rule` says where objects are looked for; None is on whole frames. `after` goes
        on where a run with the same prompts and settings stood.
        """
        logger.info(
            "Following %d objects along %s of %s, frames %d to %d, contrast limits %s",
            len(self.obj_ids),
            self.axis,
            self.view.axes.described,
            self.frames.start,
            self.frames.stop - 1,
            limits,
        )
        ways = zip(self.groups, self._courses(predictor), strict=True)
        for number, (group, courses) in enumerate(ways):
            if after is not None and number < after.group:
                continue
            run = GroupRun(
                predictor=predictor,
                source=self.view.frames(group.origin, self.axis),
                group=group,
                number=number,
                frames=self.frames,
                courses=courses,
                limits=limits,
                hq=hq,
                is_cancelled=is_cancelled,
                rule=rule,
            )
            here = after if after is not None and number == after.group else None
            # what fails on a GPU shows at any later place
            with device_errors_told(predictor.device):
                for step in until_cancelled(run.results(here), is_cancelled):
                    yield step
                    if is_cancelled():
                        return


def plan_stack(
    view: StackView,
    prompts: Iterable[FramePrompts],
    *,
    axis: str | None,
    frames: tuple[int, int] | None,
    direction: Direction,
) -> StackPlan:
    """Check prompts and frames against a stack.

    Raises
    ------
    StackError
        The stack has no such axis or frames.
    PromptError
        A prompt does not fit the stack, or lies outside `frames`.
    """
    letter = view.axes.propagation_axis(axis)
    chosen = resolve_frames(frames, view.axes, letter)
    groups = group_prompts(check_prompts(prompts, view.axes), view.axes, letter)
    for group in groups:
        check_frames(group, chosen, letter)
    return StackPlan(view, letter, chosen, groups, direction)
