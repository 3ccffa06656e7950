"""Clicks of a prompt, and the steps in which they are asked for."""

from __future__ import annotations

import pytest
import torch

from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt
from napari_hqsam2.segmentation.clicks import in_steps, to_clicks


@pytest.mark.parametrize(
    ("signs", "box", "lengths"),
    [
        ([True], False, [1]),
        ([True, False, True], False, [1, 2, 3]),
        ([False, True, True], False, [2, 3]),
        ([False, False], False, [2]),
        ([True] * 9, False, [1, 2, 3, 9]),
        ([], True, [2]),
        ([True, False], True, [4]),
    ],
)
def test_points_are_asked_for_one_after_the_other(
    signs: list[bool], box: bool, lengths: list[int]
) -> None:
    points = tuple(PointPrompt(i, i, sign) for i, sign in enumerate(signs))
    prompt = FramePrompts((), 1, points, box=BoxPrompt(2, 2, 9, 9) if box else None)
    clicks = to_clicks(prompt, (40, 50), 64)
    steps = in_steps(clicks)
    assert [step.labels.shape[1] for step in steps] == lengths
    assert steps[-1] is clicks or torch.equal(steps[-1].labels, clicks.labels)
    for step, length in zip(steps, lengths, strict=True):
        assert torch.equal(step.coords_norm, clicks.coords_norm[:, :length])
