"""Drawing objects: poses, overlaps, and what each layer records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_hqsam2.synthetic.canvas import (
    Actor,
    Canvas,
    Inner,
    Paint,
    Path,
    paint_actor,
)
from napari_hqsam2.synthetic.shapes import Star

TILE = np.zeros((256, 256), np.float32)


def still(y: float, x: float, angle: float = 0.0) -> Path:
    one = np.ones(1)
    return Path(
        yx=np.array([[y, x]]),
        angle=angle * one,
        stretch=np.ones((1, 2)),
        phase=0 * one,
        grain=0 * one,
        present=np.ones(1, bool),
    )


def draw(*actors: Actor, paint: Paint | None = None) -> Canvas:
    canvas = Canvas((80, 100))
    for index, actor in enumerate(actors):
        paint_actor(canvas, actor, index, 0, paint or Paint(), TILE)
    return canvas


def test_disc_covers_exactly_the_pixels_within_its_radius() -> None:
    canvas = draw(Actor(Star(15, 15), still(40.3, 50.6)))
    y, x = np.mgrid[:80, :100]
    radius = np.hypot(y - 40.3, x - 50.6)
    np.testing.assert_array_equal(
        canvas.owner[np.abs(radius - 15) > 0.01] == 1,
        (radius < 15)[np.abs(radius - 15) > 0.01],
    )
    np.testing.assert_array_equal(canvas.light[radius > 15.6], 0)
    np.testing.assert_allclose(canvas.light[radius < 14.4], 1)


def test_moving_by_whole_pixels_moves_the_mask() -> None:
    shape = Star(14, 9, (0.1, 0.08), (1.0, 2.0))
    here = draw(Actor(shape, still(30, 40, 0.7))).owner
    there = draw(Actor(shape, still(35, 47, 0.7))).owner
    np.testing.assert_array_equal(there[5:, 7:], here[:-5, :-7])


def test_angle_turns_the_long_axis_from_x_to_y() -> None:
    along_x = draw(Actor(Star(20, 6), still(40, 50))).owner
    along_y = draw(Actor(Star(20, 6), still(40, 50, np.pi / 2))).owner
    assert along_x[40].sum() == pytest.approx(40, abs=2)
    assert along_y[:, 50].sum() == pytest.approx(40, abs=2)


def test_the_later_lies_on_top() -> None:
    a, b = (Actor(Star(15, 15), still(40, x)) for x in (40, 55))
    owner = draw(a, b).owner
    assert owner[40, 50] == 2
    assert draw(b, a).owner[40, 50] == 2


def test_touching_objects_share_the_border_half_way() -> None:
    a, b = (Actor(Star(15, 15), still(40, x)) for x in (40, 60))
    owner = draw(a, b, paint=Paint(touching=True)).owner
    np.testing.assert_array_equal(owner[40, 42:50], 1)
    np.testing.assert_array_equal(owner[40, 51:58], 2)
    mirrored = draw(b, a, paint=Paint(touching=True)).owner
    np.testing.assert_array_equal((mirrored == 2)[:, :50], (owner == 1)[:, :50])


@pytest.mark.parametrize(("opacity", "expected"), [(0.0, 2.0), (1.0, 1.0)])
def test_opacity_hides_or_adds(opacity: float, expected: float) -> None:
    a, b = (Actor(Star(15, 15), still(40, x)) for x in (40, 50))
    canvas = draw(a, b, paint=Paint(opacity=opacity))
    assert canvas.light[40, 45] == pytest.approx(expected)


def test_absent_and_distant_objects_leave_no_trace() -> None:
    path = replace(still(40, 40), present=np.zeros(1, bool))
    canvas = draw(Actor(Star(9, 9), path), Actor(Star(9, 9), still(-50, 500)))
    assert not canvas.owner.any()
    assert not canvas.light.any()


def test_inner_part_changes_the_light_but_not_the_owner() -> None:
    inner = Inner(Star(5, 5), (0.0, 0.0), factor=0.25)
    canvas = draw(Actor(Star(20, 20), still(40, 50), inner=(inner,)))
    assert canvas.light[40, 50] == pytest.approx(0.25)
    assert canvas.light[40, 66] == pytest.approx(1.0)
    assert canvas.owner[40, 50] == 1


def test_sheath_is_measured_outwards() -> None:
    canvas = draw(Actor(Star(16, 16), still(40, 50)), paint=Paint(border=1.0))
    near = canvas.near[40, 50:]
    assert near[16] == pytest.approx(0, abs=0.01)
    assert near[20] == pytest.approx(-1, abs=0.01)
