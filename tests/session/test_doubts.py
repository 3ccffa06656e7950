"""Doubts from scores alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from napari_hqsam2.session.doubts import DoubtLimits, find_doubts, with_changes
from napari_hqsam2.session.records import FrameScores

GOOD = FrameScores(
    obj_id=4,
    position=(0,),
    object_score=5.0,
    iou_score=0.9,
    area=100,
    centroid=(20.0, 20.0),
    source="tracked",
    axis="T",
)


PIXELS = 1000
"""Of a frame."""


def track(*frames):
    """Scores of frames 0, 1, ... that differ from a good one."""
    return {(t,): replace(GOOD, position=(t,), **frames[t]) for t in range(len(frames))}


def doubts(*frames, letters="T", **limits):
    scores = with_changes(track(*frames), letters, "T")
    return [
        (doubt.position[0], doubt.reason)
        for doubt in find_doubts(scores, letters, "T", DoubtLimits(**limits), PIXELS)
    ]


def test_changes_compare_with_the_frame_before():
    first, second = with_changes(
        track({}, {"area": 150, "centroid": (23.0, 24.0)}), "T", "T"
    )
    assert (first.jump, first.area_ratio) == (None, None)
    assert (second.jump, second.area_ratio) == (5.0, 1.5)


def test_changes_are_along_the_axis_of_the_run():
    scores = {
        (0, 0): replace(GOOD, position=(0, 0), area=10),
        (0, 1): replace(GOOD, position=(0, 1), area=20),
        (1, 1): replace(GOOD, position=(1, 1), area=60),
    }
    by_position = {item.position: item for item in with_changes(scores, "TZ", "Z")}
    assert by_position[1, 1].area_ratio == 3
    along_z = {key: replace(item, axis="Z") for key, item in scores.items()}
    by_position = {item.position: item for item in with_changes(along_z, "TZ", "Z")}
    assert by_position[0, 1].area_ratio == 2
    assert by_position[1, 1].area_ratio is None


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ({"area": 0, "centroid": None}, "lost"),
        ({"centroid": (20.0, 35.0)}, "jump"),
        ({"area": 250}, "leak"),
        ({"area": 30}, "shrunk"),
        ({"object_score": -0.5}, "low score"),
        ({"iou_score": 0.4}, "low score"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_reason(frame, reason):
    assert doubts({}, frame) == [(1, reason)]


def test_a_good_track_is_not_doubted():
    assert doubts({}, {"centroid": (24.0, 24.0)}, {"area": 120}, {}) == []


def test_what_goes_on_is_reported_once():
    lost = {"area": 0, "centroid": None, "object_score": -3.0}
    assert doubts({}, lost, lost, lost, {}, lost) == [(1, "lost"), (5, "lost")]


def test_what_the_user_gave_is_not_doubted():
    assert doubts({}, {"area": 250, "source": "prompt"}) == []
    assert doubts({}, {"iou_score": 1.0, "area": 250, "source": "mask"}) == []


def test_a_mask_that_a_model_was_not_sure_of_is_doubted():
    assert doubts({"iou_score": 0.4, "source": "mask"}) == [(0, "low score")]
    assert doubts({}, {"area": 250, "iou_score": 0.6, "source": "mask"}) == []


def test_what_slowly_fills_the_frame_is_a_leak():
    grown = [{"area": area} for area in (100, 180, 300, 400, 410, 420)]
    assert doubts(*grown) == [(4, "leak")]
    assert doubts(*grown, share=0.25) == [(2, "leak")]
    assert doubts({"area": 500, "source": "prompt"}, *grown[3:]) == []
    assert doubts({"source": "prompt"}, *grown) == [(5, "leak")]


def test_limits_can_be_chosen():
    frame = {"area": 140, "centroid": (20.0, 26.0)}
    assert doubts({}, frame) == []
    assert doubts({}, frame, growth=1.3) == [(1, "leak")]
    assert doubts({}, frame, jump=0.3) == [(1, "jump")]


def test_a_single_image_has_no_frame_before():
    scores = {(): replace(GOOD, position=(), axis="", iou_score=0.1)}
    (only,) = with_changes(scores, "", "")
    assert only.jump is None
    (doubt,) = find_doubts([only], "", "", DoubtLimits(), PIXELS)
    assert doubt.reason == "low score"
