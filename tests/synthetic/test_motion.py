"""Clips: identities, movement, division, visits, and sweeps through depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hqsam2.synthetic import MODALITIES, make_clip
from napari_hqsam2.synthetic.choreography import draw_motion, draw_sweep
from napari_hqsam2.synthetic.style import MotionStyle
from napari_hqsam2.synthetic.tracks import walk

NAMES = tuple(MODALITIES)


def centres(labels: np.ndarray, obj_id: int) -> dict[int, np.ndarray]:
    return {
        t: np.array(ndimage.center_of_mass(frame == obj_id))
        for t, frame in enumerate(labels)
        if (frame == obj_id).any()
    }


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_clip(name: str) -> None:
    first, second = (
        make_clip(np.random.default_rng(5), 3, (64, 64), name) for _ in range(2)
    )
    np.testing.assert_array_equal(first.images, second.images)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.parents == second.parents
    assert (first.images[0] != first.images[2]).any()


@given(
    frames=st.integers(1, 6),
    size=st.tuples(st.integers(32, 80), st.integers(32, 80)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_clips_have_the_shape_asked_for(
    frames: int, size: tuple[int, int], seed: int
) -> None:
    clip = make_clip(np.random.default_rng(seed), frames, size)
    assert clip.labels.shape == (frames, *size)
    assert clip.labels.dtype == np.uint16
    assert clip.images.dtype == np.uint8
    assert clip.images.shape[:3] == (frames, *size)
    ids = np.unique(clip.labels)
    ids = ids[ids > 0]
    assert len(ids) > 0
    np.testing.assert_array_equal(ids, np.arange(1, len(ids) + 1))
    assert set(clip.parents) | set(clip.parents.values()) <= set(ids.tolist())


@pytest.mark.parametrize("name", ["nuclei", "phase_cells", "membranes", "photo"])
def test_an_id_stays_on_its_object(name: str) -> None:
    """Whole objects keep their size and move less than their own diameter."""
    jumps, ratios = [], []
    for seed in range(4):
        clip = make_clip(np.random.default_rng(seed), 5, (160, 160), name, sweep=False)
        for before, after in zip(clip.labels[:-1], clip.labels[1:], strict=True):
            for obj_id in np.unique(before[20:-20, 20:-20]):
                here, there = before == obj_id, after == obj_id
                if obj_id == 0 or not there.any() or here.sum() < 60:
                    continue
                apart = np.subtract(*(ndimage.center_of_mass(m) for m in (here, there)))
                jumps.append(np.hypot(*apart) / (2 * np.sqrt(here.sum() / np.pi)))
                ratios.append(there.sum() / here.sum())
    assert len(jumps) > 20
    assert np.quantile(jumps, 0.9) < 1.0
    assert 0.8 < np.median(ratios) < 1.25


def test_things_move() -> None:
    moved = 0
    for seed in range(4):
        clip = make_clip(
            np.random.default_rng(seed), 8, (96, 96), "nuclei", sweep=False
        )
        moved += (clip.labels[0] != clip.labels[-1]).any()
    assert moved == 4


def test_daughters_appear_where_their_mother_was() -> None:
    found = 0
    for seed in range(10):
        clip = make_clip(
            np.random.default_rng(seed), 8, (112, 112), "phase_bacteria", sweep=False
        )
        for child, mother in clip.parents.items():
            young, old = centres(clip.labels, child), centres(clip.labels, mother)
            assert min(young) > max(old)
            if min(young) == max(old) + 1:
                extent = 2 * np.sqrt((clip.labels[max(old)] == mother).sum())
                gap = np.hypot(*(young[min(young)] - old[max(old)]))
                assert gap < 2 * extent
                found += 1
    assert found >= 4


def test_a_sweep_shows_sections_that_grow_and_shrink() -> None:
    clip = make_clip(np.random.default_rng(3), 24, (128, 128), "nuclei", sweep=True)
    assert clip.is_sweep
    assert not clip.parents
    whole = 0
    for obj_id in range(1, int(clip.labels.max()) + 1):
        area = (clip.labels == obj_id).sum(axis=(1, 2))
        seen = np.flatnonzero(area)
        if seen[0] == 0 or seen[-1] == 23 or area.max() < 150:
            continue
        whole += 1
        assert area[seen[0]] < area.max()
        assert area[seen[-1]] < area.max()
    assert whole >= 1


def test_one_frame_is_a_still() -> None:
    clip = make_clip(np.random.default_rng(0), 1, (48, 48), "nuclei")
    assert clip.labels.shape == (1, 48, 48)
    assert not clip.is_sweep


def test_no_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 frame, got 0"):
        make_clip(np.random.default_rng(0), 0)


def test_walk_starts_where_objects_are_and_follows_the_stage() -> None:
    start = np.array([[10.0, 20.0], [30.0, 5.0]])
    stage = np.array([[0.0, 0.0], [3.0, -1.0], [5.0, 2.0]])
    style = MotionStyle(frames=3, stage=stage)
    path = walk(np.random.default_rng(0), style, start, np.array([9.0, 9.0]))
    np.testing.assert_allclose(path, start + stage[:, None])


def test_objects_push_each_other_away() -> None:
    start = np.array([[20.0, 20.0], [20.0, 26.0]])
    style = MotionStyle(frames=12, repulsion=1.0)
    path = walk(np.random.default_rng(0), style, start, np.array([20.0, 20.0]))
    gaps = np.hypot(*(path[:, 0] - path[:, 1]).T)
    assert gaps[0] == pytest.approx(6)
    assert gaps[-1] == pytest.approx(20, abs=1)
    assert (np.diff(gaps) >= -1e-9).all()


def test_repeated_sweeps_share_their_moment() -> None:
    sweep = MotionStyle(frames=6, z_step=2.0, planes=3)
    np.testing.assert_array_equal(sweep.steps, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(sweep.focus, [0, 2, 4, 0, 2, 4])
    assert sweep.moments == 2
    assert sweep.depth == 4


def test_drawn_styles_are_what_was_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert draw_sweep(rng, 8, 30.0).is_sweep
    lapse = draw_motion(rng, MODALITIES["nuclei"], 8)
    assert not lapse.is_sweep
    low, high = MODALITIES["nuclei"].speed
    assert low <= lapse.speed <= high
