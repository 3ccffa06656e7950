"""Outlines against areas and depths known by geometry."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.synthetic.outlines import OutlineStyle, draw_outline
from napari_hqsam2.synthetic.shapes import Arm, Lobed, Shape, Star, Tube

KINDS = ("nucleus", "rod", "lobed", "spindle", "filament")


def grid(half: int) -> tuple[np.ndarray, np.ndarray]:
    v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float32)
    return v, u


def area(shape: Shape, phase: float = 0.0) -> int:
    v, u = grid(int(shape.reach) + 2)
    return int((shape.depth(v, u, phase) > 0).sum())


def test_plain_star_is_the_ellipse() -> None:
    v, u = grid(40)
    depth = Star(30, 15).depth(v, u, 0.0)
    ellipse = (u / 30) ** 2 + (v / 15) ** 2
    np.testing.assert_array_equal(depth[ellipse < 0.97] > 0, True)
    np.testing.assert_array_equal(depth[ellipse > 1.03] > 0, False)
    assert depth[40, 40] == pytest.approx(15, abs=0.5)


def test_depth_of_a_disc_is_the_distance_to_its_edge() -> None:
    v, u = grid(30)
    depth = Star(20, 20).depth(v, u, 1.0)
    np.testing.assert_allclose(depth, 20 - np.hypot(v, u), atol=1e-3)


def test_straight_tube_is_a_capsule() -> None:
    assert area(Tube(20, (6.5, 6.5, 6.5))) == pytest.approx(
        40 * 13 + np.pi * 6.5**2, rel=0.03
    )


def test_bent_tube_keeps_its_width() -> None:
    v, u = grid(45)
    depth = Tube(30, (5, 5, 5), bend=(0.6,)).depth(v, u, 0.0)
    assert depth.max() == pytest.approx(5, abs=0.2)
    assert area(Tube(30, (5, 5, 5), bend=(0.6,))) > area(Tube(30, (5, 5, 5)))


def test_arms_add_to_a_cell() -> None:
    bare = Lobed(20, 12)
    armed = Lobed(20, 12, arms=(Arm(np.pi / 2, 30, 6, 1, 0.0),))
    v, u = grid(40)
    assert bare.depth(v, u, 0.0)[40 + 24, 40] < 0
    assert armed.depth(v, u, 0.0)[40 + 24, 40] > 0


@given(
    kind=st.sampled_from(KINDS),
    diameter=st.floats(8, 90),
    seed=st.integers(0, 10_000),
    phase=st.floats(-10, 10),
)
def test_reach_holds_every_outline_at_every_phase(
    kind: str, diameter: float, seed: int, phase: float
) -> None:
    style = OutlineStyle(kind, elongation=1.7, roughness=0.3)  # type: ignore[arg-type]
    shape = draw_outline(np.random.default_rng(seed), style, diameter)
    v, u = grid(int(shape.reach * 1.3) + 3)
    inside = shape.depth(v, u, phase) > 0
    assert inside.any()
    assert np.hypot(v, u)[inside].max() <= shape.reach + 1


@pytest.mark.parametrize("kind", ["nucleus", "lobed"])
def test_area_is_about_that_of_a_disc_of_the_diameter(kind: str) -> None:
    style = OutlineStyle(kind, elongation=1.5, roughness=0.1)  # type: ignore[arg-type]
    rng = np.random.default_rng(3)
    areas = [area(draw_outline(rng, style, 40)) for _ in range(20)]
    assert np.median(areas) == pytest.approx(np.pi * 400, rel=0.35)


@pytest.mark.parametrize("kind", KINDS)
def test_halves_have_half_of_the_area(kind: str) -> None:
    style = OutlineStyle(kind, elongation=2.0, roughness=0.1)  # type: ignore[arg-type]
    shape = draw_outline(np.random.default_rng(5), style, 50)
    first, second, apart = shape.halves()
    assert 0 < apart < shape.reach
    assert area(first) + area(second) == pytest.approx(area(shape), rel=0.35)


def test_phase_deforms_smoothly() -> None:
    shape = Star(30, 20, (0.1, 0.05, 0.03), (0.2, 1.0, 2.0))
    v, u = grid(50)
    masks = [shape.depth(v, u, phase) > 0 for phase in (0.0, 0.05, 1.5)]
    near = (masks[0] ^ masks[1]).sum()
    far = (masks[0] ^ masks[2]).sum()
    assert 0 < near < far
