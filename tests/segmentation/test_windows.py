"""Windows of large frames: where they lie, and when they move."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_hqsam2.prompts import BoxPrompt, FramePrompts, PointPrompt
from napari_hqsam2.segmentation.windows import (
    LARGE_FROM,
    LEAST_SIDE,
    ROOM,
    WindowRule,
    check_crop,
    joined_box,
    longer_side,
    prompt_box,
    window_rule,
)

sizes = st.tuples(st.integers(64, 5000), st.integers(64, 5000))


@st.composite
def rules(draw):
    fixed = draw(st.none() | st.integers(LEAST_SIDE, 2000))
    return WindowRule(draw(sizes), draw(st.sampled_from([512, 1024])), fixed)


@st.composite
def boxes_in(draw, hw):
    most = draw(st.sampled_from([20, 200, 5000]))
    top, left = draw(st.integers(0, hw[0] - 1)), draw(st.integers(0, hw[1] - 1))
    height = draw(st.integers(1, min(hw[0] - top, most)))
    width = draw(st.integers(1, min(hw[1] - left, most)))
    return top, left, top + height, left + width


@st.composite
def placed(draw):
    rule = draw(rules())
    return rule, draw(boxes_in(rule.hw))


def holds(crop, box):
    return (
        crop.top <= box[0]
        and crop.left <= box[1]
        and box[2] <= crop.top + crop.height
        and box[3] <= crop.left + crop.width
    )


def lies_in(crop, hw):
    return holds(type(crop)(0, 0, *hw), crop_box(crop))


def crop_box(crop):
    return crop.top, crop.left, crop.top + crop.height, crop.left + crop.width


@given(placed())
def test_a_window_has_room_around_its_object(case):
    rule, box = case
    crop = rule.around(box)
    assert lies_in(crop, rule.hw)
    assert holds(crop, box)
    side = max(crop.height, crop.width)
    assert crop == rule.whole or side >= ROOM * longer_side(box)


@given(placed())
def test_a_window_stays_while_its_object_does(case):
    rule, box = case
    crop = rule.around(box)
    assert rule.following(crop, box) == crop
    assert rule.wider(crop, box) is None
    assert rule.fitting(crop, box, box) == crop


@given(placed(), st.data())
def test_a_window_follows_its_object(case, data):
    rule, box = case
    crop = rule.around(box)
    later = data.draw(boxes_in(rule.hw))
    moved = rule.following(crop, later)
    assert lies_in(moved, rule.hw)
    assert holds(moved, later)
    assert rule.following(moved, later) == moved


@given(placed(), st.data())
def test_an_object_that_leaves_its_window_gets_another(case, data):
    rule, box = case
    crop = rule.around(box)
    found = joined_box(box, data.draw(boxes_in(rule.hw)))
    wider = rule.wider(crop, found)
    is_cut = not holds(crop, found)
    assert wider != crop
    assert wider is not None or not is_cut
    for _ in range(20):
        if wider is None:
            break
        crop, wider = wider, rule.wider(wider, found)
    assert holds(crop, found)


@given(placed())
def test_what_is_lost_is_looked_for_further_out(case):
    rule, box = case
    crop = rule.around(box)
    lost = rule.lost(crop, box)
    assert lies_in(lost, rule.hw)
    assert holds(lost, box)
    assert crop == rule.whole or lost.height > crop.height or lost.width > crop.width


@given(placed(), st.integers(0, 3), st.integers(0, 3))
def test_neighbours_share_windows(case, down, right):
    """Few starts are possible for a side, so most neighbours have the same."""
    rule, box = case
    crop = rule.around(box)
    assume(crop != rule.whole)
    side = max(crop.height, crop.width)
    for start, length, whole in (
        (crop.top, crop.height, rule.hw[0]),
        (crop.left, crop.width, rule.hw[1]),
    ):
        assert start % (side // 2) == 0 or start == whole - length
    near = (box[0] + down, box[1] + right, box[2] + down, box[3] + right)
    other = rule.around(near)
    assert abs(other.top - crop.top) <= side // 2
    assert abs(other.left - crop.left) <= side // 2


CLICK = FramePrompts((), 1, (PointPrompt(500.0, 300.0),))
BOX = FramePrompts((), 2, box=BoxPrompt(500, 300, 510, 312))


def sides(rule, prompt):
    crops = rule.first(prompt)
    assert all(holds(crop, (500, 300, 501, 301)) for crop in crops)
    return [max(crop.height, crop.width) for crop in crops]


def test_a_click_may_mean_anything_and_a_box_says_how_large():
    rule = WindowRule((2048, 2048), 512)
    assert sides(rule, CLICK) == [512, 256, 128]
    assert sides(rule, BOX) == [128]
    small = WindowRule((600, 512), 512)
    assert sides(small, CLICK) == [600, 256, 128]
    assert sides(small, BOX) == [128]
    apart = FramePrompts((), 1, (PointPrompt(500.0, 300.0), PointPrompt(560.0, 300.0)))
    assert sides(rule, apart) == [512, 256]
    assert sides(WindowRule((2048, 2048), 512, 200), CLICK) == [200]
    assert sides(WindowRule((2048, 2048), 1024), CLICK) == [512]


def test_an_object_on_the_whole_of_a_small_frame_stays_there():
    rule, box = WindowRule((600, 512), 512), (500, 300, 510, 312)
    assert rule.following(rule.whole, box) == rule.lost(rule.whole, box) == rule.whole
    large = WindowRule((int(LARGE_FROM * 512) + 1, 512), 512)
    assert large.following(large.whole, box) != large.whole


def test_windows_are_needed_where_there_is_room_for_them():
    rule = WindowRule((600, 512), 512)
    assert rule.is_needed([CLICK])
    assert rule.is_needed([BOX])
    assert not rule.is_needed([FramePrompts((), 1, box=BoxPrompt(0, 0, 300, 300))])
    tiny = WindowRule((100, 100), 512)
    assert not tiny.is_needed([FramePrompts((), 1, (PointPrompt(5.0, 3.0),))])


def test_prompts_have_a_box():
    points = (PointPrompt(3.2, 9.8), PointPrompt(7.0, 1.0))
    assert prompt_box(FramePrompts((), 1, points)) == (3, 1, 8, 11)
    both = FramePrompts((), 1, points, box=BoxPrompt(2, 4, 5, 20))
    assert prompt_box(both) == (2, 1, 8, 20)
    mask = np.zeros((9, 9), dtype=bool)
    mask[2:4, 5:9] = True
    assert prompt_box(FramePrompts((), 1, mask=mask)) == (2, 5, 4, 9)


def test_frames_are_seen_in_windows_unless_there_is_no_room():
    assert window_rule("auto", (170, 100), 512) is None
    assert window_rule("auto", (100, 171), 512) == WindowRule((100, 171), 512)
    assert window_rule("auto", (1000, 1000), 1024) is None
    assert window_rule("auto", (1600, 1000), 1024) == WindowRule((1600, 1000), 1024)
    assert window_rule("off", (9000, 9000), 512) is None
    assert window_rule(256, (300, 200), 512) == WindowRule((300, 200), 512, 256)
    assert window_rule(256, (256, 200), 512) is None


@pytest.mark.parametrize("mode", ["on", 0, -256, 63, True, 256.0, None])
def test_impossible_windows_are_refused(mode):
    with pytest.raises(ValueError, match=r"crop=.* is not 'auto', 'off'"):
        check_crop(mode)
    for usual in ("auto", "off", 64, 4096):
        check_crop(usual)
