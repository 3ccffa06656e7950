"""A run that goes on after a saved state ends as one that was never broken off."""

from __future__ import annotations

import io
from dataclasses import astuple, replace

import numpy as np
import pytest
import torch

from napari_hqsam2 import BoxPrompt, FramePrompts, PointPrompt
from napari_hqsam2.build import with_settings
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.segmentation.run_states import RunState
from napari_hqsam2.segmentation.stack_plan import plan_stack


@pytest.fixture(scope="module")
def predictor(make_untrained):
    return make_untrained()


def click(position, obj_id, y=20, x=20):
    return FramePrompts(position, obj_id, points=(PointPrompt(y, x),))


def prompts(hw=(40, 50)):
    """Objects that begin at different frames, one of them prompted twice."""
    mask = np.zeros(hw, dtype=bool)
    mask[5:15, 30:44] = True
    return [
        click((3,), 7),
        click((1,), 2, 10, 40),
        FramePrompts((4,), 2, box=BoxPrompt(4, 30, 20, 48)),
        FramePrompts((2,), 5, mask=mask),
    ]


def found(steps):
    """All that results say, in their order."""
    return [
        (step.result.position, m.area, m.mask.tobytes(), astuple(replace(m, mask=None)))
        for step in steps
        for m in step.result.masks
    ]


def saved(state):
    """A state after its way to a disk and back."""
    file = io.BytesIO()
    torch.save(state.to_plain(), file)
    file.seek(0)
    plain = torch.load(file, weights_only=True)
    return RunState.from_plain(plain, torch.device("cpu"))


CASES = {
    "whole": (prompts(), {}),
    "forward": (prompts(), {"direction": "forward"}),
    "backward": (prompts(), {"direction": "backward", "frames": (1, 6)}),
    "backward from the first": ([click((0,), 1)], {"direction": "backward"}),
    "local": (prompts(), {"tracking": "local"}),
    "windows": (prompts((80, 100)), {"crop": 64}),
    "windows backward": (
        prompts((80, 100)),
        {"crop": 64, "frames": (1, 6), "direction": "backward"},
    ),
}


@pytest.mark.parametrize(("asked", "options"), CASES.values(), ids=CASES)
def test_going_on_is_as_never_broken_off(rng, predictor, asked, options):
    side = 2 if "crop" in options else 1
    stack = rng.integers(0, 60_000, (6, side * 40, side * 50), dtype=np.uint16)
    check_every_break(stack, "TYX", asked, predictor, options)


@pytest.mark.parametrize("name", ["whole", "windows", "windows backward"])
def test_masks_that_move_with_the_image_go_on_too(rng, predictor, name):
    asked, options = CASES[name]
    side = 2 if "crop" in options else 1
    stack = rng.integers(0, 60_000, (6, side * 40, side * 50), dtype=np.uint16)
    config = replace(predictor.config, moved_share=0.85)
    moving = SAM2VideoPredictor(predictor.model, config)
    check_every_break(stack, "TYX", asked, moving, options)


def test_groups_of_prompts(rng, predictor):
    stack = rng.integers(0, 60_000, (2, 3, 40, 50), dtype=np.uint16)
    asked = [click((1, 1), 3), click((0, 0), 1), click((1, 2), 2)]
    check_every_break(stack, "TZYX", asked, predictor, {})


def check_every_break(stack, axes, asked, predictor, options):
    settings = StackSettings(**({"crop": "off"} | options))
    model = with_settings(predictor, tracking=settings.tracking)
    plan = plan_stack(
        settings.view(stack, axes),
        asked,
        axis=None,
        frames=settings.frames,
        direction=settings.direction,
    )
    limits = plan.view.limits()
    rule = settings.window_rule(plan.view.axes.hw, model)

    def run(after=None):
        return plan.results(model, limits, "add", lambda: False, rule, after)

    steps, states = [], []
    for step in run():
        steps.append(step)
        states.append(saved(step.state()))
    assert len(steps) == plan.num_steps(model)
    assert found(steps) == found(run())
    assert any(item.area for step in steps for item in step.result.masks)
    for done in range(1, len(states) + 1, 3):
        state = states[done - 1]
        assert found(run(state)) == found(steps[done:])
