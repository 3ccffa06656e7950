"""Which frames objects are followed through, from which sides, and what is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2 import FramePrompts, PointPrompt
from napari_hqsam2.axes import StackAxes
from napari_hqsam2.segmentation.courses import Course, Courses
from napari_hqsam2.segmentation.prompt_groups import group_prompts, plan_courses

FRAMES = range(1, 9)


def click(obj_id, frame):
    return FramePrompts((frame,), obj_id, points=(PointPrompt(5, 5),))


@pytest.mark.parametrize(
    ("direction", "two_sided", "forward", "backward"),
    [
        ("forward", False, range(2, 9), []),
        ("backward", False, [], [5, 4, 3, 2, 1]),
        ("both", False, range(2, 9), [4, 3, 2, 1]),
        ("forward", True, range(2, 9), [5, 4, 3]),
        ("backward", True, [], [5, 4, 3, 2, 1]),
        ("both", True, range(2, 9), [5, 4, 3, 2, 1]),
    ],
)
def test_prompts_say_where_passes_go(direction, two_sided, forward, backward):
    """Object 1 is prompted on frames 2 and 6, object 2 on frame 5."""
    axes = StackAxes("TYX", (10, 20, 30))
    prompts = [click(1, 2), click(2, 5), click(1, 6)]
    (group,) = group_prompts(prompts, axes, "T")
    courses = plan_courses(group, FRAMES, direction, two_sided=two_sided)
    assert list(courses.told(reverse=False)) == list(forward)
    assert list(courses.told(reverse=True)) == list(backward)
    assert courses.num_steps == len(forward) + len(backward)


def test_what_changed_is_followed_from_its_neighbours_too():
    """Frame 4 changed; the object is also known on frames 1 and 7."""
    course = Course.of(range(2, 7), 4, (1, 4, 7), "both", two_sided=True)
    assert course.forward == range(1, 7)
    assert course.backward == range(2, 8)
    courses = Courses({3: course})
    assert courses.told(reverse=False) == range(2, 7)
    assert courses.told(reverse=True) == range(6, 1, -1)
    assert not courses.tells(3, 4, reverse=True)


def test_the_nearer_side_counts_more():
    course = Course.of(range(10), 2, (2, 6), "both", two_sided=True)
    shares = [course.backward_share(frame) for frame in range(2, 7)]
    assert shares == pytest.approx([0, 0.1, 0.5, 0.9, 0])


frames = st.integers(0, 12)


@given(
    st.lists(frames, min_size=1, max_size=5, unique=True),
    st.sampled_from(["forward", "backward", "both"]),
    st.booleans(),
    st.data(),
)
def test_every_frame_is_told_of(known, direction, two_sided, data):
    """Once; or twice between frames on which the object is known."""
    first = data.draw(st.sampled_from(sorted(known)))
    course = Course.of(range(13), first, known, direction, two_sided=two_sided)
    courses = Courses({1: course})
    asked = {
        "forward": range(first, 13),
        "backward": range(first + 1),
        "both": range(13),
    }[direction]
    assert course.frames == asked
    passes = []
    for reverse in (False, True):
        span = courses.spans(reverse=reverse)[1]
        told = [t for t in span if courses.tells(1, t, reverse=reverse)]
        assert set(told) <= set(courses.told(reverse=reverse))
        # a pass begins where something is known
        assert not told or (span[-1] if reverse else span[0]) in course.known
        passes.append(told)
    assert set(passes[0]) | set(passes[1]) == set(asked)
    twice = set(passes[0]) & set(passes[1])
    between = [
        t
        for t in asked
        if t not in course.known
        and any(k < t for k in course.known)
        and any(k > t for k in course.known)
    ]
    assert twice == set(between)
