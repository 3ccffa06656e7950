"""The image encoder alone, and what a smaller input saves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from tests.benchmarks import models, reference, scenes
from tests.benchmarks.measurement import Case, Measurement, Plan, Settings
from tests.benchmarks.timing import Side, compare, side
from tests.benchmarks.tracking import Run, ours

from napari_hqsam2.predictors.precision import inference

if TYPE_CHECKING:
    from tests.benchmarks.models import Trunk


def encode(settings: Settings) -> list[Measurement]:
    """One frame through the encoder, with all that the decoder takes from it."""
    plan = settings.plan(
        full=Plan(1024, repeats=5),
        quick=Plan(256, repeats=5),
        smoke=Plan(128, repeats=1),
    )
    trunks: tuple[Trunk, ...] = (
        ("tiny",) if settings.scale == "smoke" else ("tiny", "large")
    )
    return [_encode(trunk, plan, settings.device) for trunk in trunks]


def _encode(trunk: Trunk, plan: Plan, device: torch.device) -> Measurement:
    frame = torch.from_numpy(scenes.discs(5, 1, plan.size).frames).to(device)
    image = models.to_images(frame, plan.size)
    return compare(
        f"encode one frame, {trunk}, {plan.size} px",
        _reference_encoder(trunk, image) if reference.is_installed() else None,
        _our_encoder(trunk, image),
        repeats=plan.repeats,
        device=device,
        note="" if reference.is_installed() else reference.MISSING,
    )


def _reference_encoder(trunk: Trunk, image: torch.Tensor) -> Side[Any]:
    predictor = reference.predictor(trunk, image.shape[-1], image.device)

    def call() -> object:
        with reference.computing(image.device):
            return predictor._prepare_backbone_features(predictor.forward_image(image))

    return side(reference.name(), call)


def _our_encoder(trunk: Trunk, image: torch.Tensor) -> Side[Any]:
    model = models.predictor(trunk, image.shape[-1], image.device).model

    def call() -> object:
        with inference(image.device):
            return model.encode_image(image)

    return side("encode_image", call)


def draft(settings: Settings) -> list[Measurement]:
    """One object through a stack at smaller inputs, against our own at 1024 px."""
    plan = settings.plan(
        full=Plan(1024, 1, 8, repeats=3),
        quick=Plan(512, 1, 4, repeats=3),
        smoke=Plan(128, 1, 2, repeats=1),
    )
    stack = scenes.discs(plan.objects, plan.frames, plan.size)
    whole = ours(Run("tiny", plan.size, stack, settings.device))
    return [
        compare(
            f"draft: track {plan.objects} object x {plan.frames} frames, tiny, "
            f"{size} px instead of {plan.size} px",
            whole,
            ours(Run("tiny", size, stack, settings.device)),
            repeats=plan.repeats,
            device=settings.device,
        )
        for size in (plan.size * 3 // 4, plan.size // 2)
    ]


CASES = (
    Case("encode", "encode one frame, tiny and large, 1024 px", encode),
    Case("draft", "draft resolution: 768 and 512 px instead of 1024 px", draft),
)
