"""One more click while many objects are there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from tests.benchmarks import models, reference, scenes
from tests.benchmarks.measurement import Case, Measurement, Plan, Settings
from tests.benchmarks.timing import Side, compare, side
from tests.benchmarks.tracking import Run, our_session, reference_session

from napari_hqsam2.ops.compose_labels import compose_labels, pixel_boxes, positive_boxes
from napari_hqsam2.predictors.prompt_inputs import new_clicks

if TYPE_CHECKING:
    from napari_hqsam2._types import HW

TOUCHED = 1
"""The object that is clicked again."""


def click(settings: Settings) -> list[Measurement]:
    """A click on cached features: SAM 2's verb, and what the product does instead."""
    plan = settings.plan(
        full=Plan(2048, 300, repeats=5),
        quick=Plan(512, 30, repeats=3),
        smoke=Plan(256, 3, repeats=1),
    )
    network = {"full": 1024, "quick": 256, "smoke": 128}[settings.scale]
    counts = sorted({1, max(plan.objects // 10, 1), plan.objects})
    clicks = [_Clicks(count, plan.size, network, settings.device) for count in counts]
    rows = [row for one in clicks for row in one.compared(plan.repeats)]
    flat = compare(
        f"click, {plan.objects} objects present instead of 1, {plan.size} px frame",
        replace(clicks[0].touched_object_only(), name="1 object present"),
        replace(clicks[-1].touched_object_only(), name=f"{plan.objects} present"),
        repeats=plan.repeats,
        device=settings.device,
        note="1x is flat",
    )
    return [*rows, flat]


@dataclass(frozen=True)
class _Clicks:
    """Sessions of both sides with `count` objects on one frame."""

    count: int
    size: int
    """Side of the frame in pixels."""
    network: int
    """Side of the network's input."""
    device: torch.device

    @property
    def hw(self) -> HW:
        return self.size, self.size

    @property
    def point(self) -> dict[str, Any]:
        centre = scenes.grid_points(self.count, self.size)[TOUCHED - 1]
        return {"points": centre[None] + 2, "labels": [1]}

    def run(self) -> Run:
        stack = scenes.discs(self.count, 1, self.size)
        return Run("tiny", self.network, stack, self.device)

    def compared(self, repeats: int) -> list[Measurement]:
        baseline = self.theirs() if reference.is_installed() else None
        present = f"{self.count} object{'s' * (self.count > 1)} present"
        return [
            compare(
                f"click, {present}, {self.size} px frame",
                baseline,
                ours,
                repeats=repeats,
                device=self.device,
                note="" if baseline else reference.MISSING,
            )
            for ours in (self.same_verb(), self.touched_object_only())
        ]

    def theirs(self) -> Side[Any]:
        predictor = reference.predictor("tiny", self.network, self.device)
        state = reference_session(predictor, self.run())

        def call() -> object:
            with reference.computing(self.device):
                return predictor.add_new_points_or_box(state, 0, TOUCHED, **self.point)

        return side(reference.name(), call)

    def same_verb(self) -> Side[Any]:
        predictor = models.predictor("tiny", self.network, self.device)
        session = our_session(predictor, self.run())
        return side(
            "add_new_points_or_box",
            lambda: predictor.add_new_points_or_box(session, 0, TOUCHED, **self.point),
        )

    def touched_object_only(self) -> Side[Any]:
        predictor = models.predictor("tiny", self.network, self.device)
        session = our_session(predictor, self.run())
        labels = torch.zeros(self.hw, dtype=torch.int32, device=self.device)
        ids = torch.tensor([TOUCHED], dtype=torch.int32, device=self.device)
        painted = torch.zeros(1, 4, dtype=torch.int64, device=self.device)

        def call() -> None:
            nonlocal painted
            points = new_clicks(
                **self.point, box=None, hw=self.hw, size=self.network, normalize=True
            )
            result = predictor.predict_clicks(session, 0, TOUCHED, points)
            low_res = result.low_res[:, 0]
            boxes = positive_boxes(low_res)
            compose_labels(low_res, ids, boxes, labels, old_boxes=painted)
            grid = (low_res.shape[1], low_res.shape[2])
            painted = pixel_boxes(boxes, grid, self.hw)

        return side("predict_clicks and compose_labels", call)


CASES = (
    Case("click", "click on cached features, 300 objects present, 2048 px", click),
)
