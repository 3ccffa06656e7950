"""Prompts are checked against the stack and sorted into runs."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt
from napari_hqsam2.segmentation.prompt_groups import (
    check_frames,
    check_prompts,
    group_prompts,
    resolve_frames,
)

TZYX = StackAxes("TZYX", (4, 10, 32, 48))
TYX = StackAxes("TYX", (10, 32, 48))
CLICK = (PointPrompt(3, 4),)
NEGATIVE = (PointPrompt(3, 4, positive=False),)


def click(obj_id: int, *position: int) -> FramePrompts:
    return FramePrompts(position, obj_id, CLICK)


def groups_of(*prompts: FramePrompts, axes: StackAxes = TYX, axis: str = "T"):
    return group_prompts(check_prompts(prompts, axes), axes, axis)


def test_prompts_are_grouped_by_the_axes_that_are_not_followed():
    prompts = [click(1, 2, 5), click(2, 0, 3), click(1, 2, 1), click(2, 0, 1)]
    groups = groups_of(*prompts, axes=TZYX, axis="Z")
    assert [[p.position for p in g.prompts] for g in groups] == [
        [(0, 1), (0, 3)],
        [(2, 1), (2, 5)],
    ]
    assert groups[1].origin == (2, 0)
    assert groups[1].position(7) == (2, 7)
    assert groups[1].first_frames() == {1: 1}


def test_the_same_prompts_group_otherwise_along_the_other_axis():
    groups = groups_of(click(1, 2, 5), click(2, 0, 5), axes=TZYX, axis="T")
    assert [g.first_frames() for g in groups] == [{2: 0, 1: 2}]
    assert groups[0].position(3) == (3, 5)


def test_boxes_are_cut_to_the_image():
    box = FramePrompts((0,), 1, box=BoxPrompt(-3, -3, 99, 5))
    (checked,) = check_prompts([box], TYX)
    assert checked.box == BoxPrompt(0, 0, 32, 5)


@pytest.mark.parametrize(
    ("prompt", "problem"),
    [
        (click(1, 10), r"Object 1 is prompted at T=10, outside the stack \(T=10,"),
        (click(1, -1), "outside the stack"),
        (click(1, 1, 2), "1 leading axes"),
        (
            FramePrompts((3,), 7, (PointPrompt(3, 48),)),
            r"Object 7 at T=3: The point .*\(3, 48\) lies outside .* 32 x 48",
        ),
        (
            FramePrompts((3,), 7, box=BoxPrompt(40, 0, 50, 5)),
            r"Object 7 at T=3: The box .* lies outside",
        ),
        (
            FramePrompts((3,), 7, mask=np.ones((48, 32), dtype=bool)),
            r"the mask has shape \(48, 32\), the image \(32, 48\)",
        ),
        (
            FramePrompts((3,), 7, mask=np.zeros((32, 48), dtype=bool)),
            "the mask has no pixel",
        ),
    ],
)
def test_prompts_that_do_not_fit_the_stack_are_refused(prompt, problem):
    with pytest.raises(PromptError, match=problem):
        check_prompts([prompt], TYX)


def test_no_prompts_are_refused():
    with pytest.raises(PromptError, match="There are no prompts"):
        check_prompts([], TYX)


def test_an_object_has_one_entry_for_each_frame():
    with pytest.raises(PromptError, match="Object 1 has two FramePrompts at T=3"):
        check_prompts([click(1, 3), click(2, 3), click(1, 3)], TYX)


def test_an_object_needs_something_positive():
    lone = FramePrompts((3,), 2, NEGATIVE)
    with pytest.raises(PromptError, match="Object 2 has negative points only"):
        groups_of(click(1, 3), lone)
    # a correction on a later frame is fine
    assert groups_of(click(2, 1), lone)
    # but not in a group of its own
    with pytest.raises(PromptError, match="Object 2 has negative points only"):
        groups_of(
            click(2, 1, 1), FramePrompts((0, 1), 2, NEGATIVE), axes=TZYX, axis="Z"
        )


def test_frames():
    assert resolve_frames(None, TZYX, "Z") == range(10)
    assert resolve_frames((2, 5), TZYX, "Z") == range(2, 5)


@pytest.mark.parametrize("frames", [(-1, 5), (5, 5), (6, 5), (0, 11)])
def test_impossible_frames_are_refused(frames):
    with pytest.raises(StackError, match=r"0 <= start < stop <= 10"):
        resolve_frames(frames, TZYX, "Z")


def test_prompts_outside_the_frames_are_refused():
    (group,) = groups_of(click(1, 3), click(4, 6))
    check_frames(group, range(3, 7), "T")
    with pytest.raises(
        PromptError, match="Object 4 is prompted at T=6, outside the range T=3 to 5"
    ):
        check_frames(group, range(3, 6), "T")


def test_ids_are_whole_numbers():
    assert FramePrompts((0,), np.int64(3), CLICK).obj_id == 3
    for obj_id in (1.5, "3", None, float("inf")):
        with pytest.raises(PromptError, match="whole number, 1 or more; got"):
            FramePrompts((0,), obj_id, CLICK)


def masked(values):
    return FramePrompts((3,), 1, mask=np.asarray(values))


def test_masks_of_numbers():
    expected = np.zeros((32, 48), dtype=bool)
    expected[4:9, 5:20] = True
    for mask in (expected, expected * 255, expected.astype(np.float32)):
        (checked,) = check_prompts([masked(mask)], TYX)
        assert checked.mask.dtype == bool
        np.testing.assert_array_equal(checked.mask, expected)
    (checked,) = check_prompts([FramePrompts((3,), 1, mask=expected.tolist())], TYX)
    np.testing.assert_array_equal(checked.mask, expected)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-5.0, 5.0, "got float64, -5 to 5. Give mask > threshold"),
        (0.01, 0.99, "got float64, 0.01 to 0.99"),
        (1, 2, "got int64, 1 to 2. .*labels == id"),
        (-1, -1, "got int64, -1 to -1"),
    ],
)
def test_what_is_no_mask_is_not_taken_for_one(low, high, told):
    values = np.full((32, 48), low)
    values[4:9] = high
    with pytest.raises(PromptError, match=f"Object 1 at T=3: A mask is True.*{told}"):
        check_prompts([masked(values)], TYX)


def test_prompts_of_another_type():
    with pytest.raises(PromptError, match=r"list of FramePrompts, got \(0, 5, 5\)"):
        check_prompts([(0, 5, 5)], TYX)
    assert check_prompts(click(1, 3), TYX)
