"""Splits, sampling and archives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_hqsam2.training.generated import Generated
from napari_hqsam2.training.sources import (
    Clip,
    Movies,
    Stills,
    Volume,
    load_clips,
    load_source,
    load_sources,
)

if TYPE_CHECKING:
    from pathlib import Path


def numbered_stills(folder: Path, name: str, count: int) -> Path:
    arrays = {}
    for index in range(count):
        arrays[f"{index:03d}.image"] = np.full((4, 4), index, dtype=np.uint8)
        arrays[f"{index:03d}.labels"] = np.ones((4, 4), dtype=np.uint16)
    np.savez(folder / name, **arrays)
    return folder / name


@pytest.mark.parametrize(
    ("name", "count", "held_out"),
    [("nuclei.npz", 25, {0, 10, 20}), ("axondeepseg.npz", 8, {2})],
)
def test_stills_are_split_without_overlap(
    tmp_path: Path, name: str, count: int, held_out: set[int]
) -> None:
    path = numbered_stills(tmp_path, name, count)
    parts = [load_source(path, split) for split in ("train", "validation")]
    seen = []
    for part in parts:
        assert isinstance(part, Stills)
        seen.append({int(frame.image[0, 0]) for frame in part.frames})
    assert seen[1] == held_out
    assert seen[0] == set(range(count)) - held_out


def test_volumes_and_movies_leave_a_gap_between_the_splits(tmp_path: Path) -> None:
    planes = np.arange(200, dtype=np.uint8)[:, None, None] * np.ones(
        (1, 3, 3), np.uint8
    )
    for name in ("v_zyx.npz", "m_tyx.npz"):
        np.savez(tmp_path / name, **{"a.image": planes, "a.labels": planes})
    volume, movie = (
        [load_source(tmp_path / name, split) for split in ("train", "validation")]
        for name in ("v_zyx.npz", "m_tyx.npz")
    )
    ranges = []
    for part in volume:
        assert isinstance(part, Volume)
        ranges.append((part.image.min(), part.image.max()))
    for part in movie:
        assert isinstance(part, Movies)
        ranges.append((part.clips[0].images.min(), part.clips[0].images.max()))
    assert ranges == [(0, 170), (180, 199), (0, 17), (20, 27)]


def test_volume_clips_are_evenly_spaced_planes_of_one_axis() -> None:
    image = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
    volume = Volume("v", image, image.astype(np.uint16))
    for seed in range(20):
        clip = volume.clip(np.random.default_rng(seed), 3)
        assert clip is not None
        assert len(clip.images) == 3
        steps = np.diff(clip.images[:, 0, 0].astype(int))
        assert steps[0] == steps[1]
        assert steps[0] != 0
        np.testing.assert_array_equal(clip.images, clip.labels)


def test_long_clips_end_with_the_held_out_frames(tmp_path: Path) -> None:
    planes = np.arange(200, dtype=np.uint8)[:, None, None] * np.ones(
        (1, 3, 3), np.uint8
    )
    for name in ("v_zyx.npz", "m_tyx.npz", "stills.npz"):
        np.savez(tmp_path / name, **{"a.image": planes, "a.labels": planes})
    (volume,) = load_clips(tmp_path / "v_zyx.npz", 20)
    (movie,) = load_clips(tmp_path / "m_tyx.npz", 20)
    assert list(volume.clip.images[:, 0, 0]) == list(range(180, 200))
    assert volume.unseen == tuple(range(1, 20))
    assert list(movie.clip.labels[:, 0, 0]) == list(range(8, 28))
    assert movie.unseen == tuple(range(12, 20))
    assert list(movie.reversed.clip.labels[:, 0, 0]) == list(range(27, 7, -1))
    assert movie.reversed.unseen == tuple(range(1, 8))
    assert movie.reversed.clip.images[7, 0, 0] == 20
    (short,) = load_clips(tmp_path / "m_tyx.npz", 5)
    assert list(short.clip.images[:, 0, 0]) == list(range(23, 28))
    assert short.unseen == (1, 2, 3, 4)
    assert load_clips(tmp_path / "stills.npz", 20) == []


def test_a_movie_that_is_too_short_yields_no_clip() -> None:
    movie = Movies("m", (Clip(np.zeros((2, 4, 4)), np.ones((2, 4, 4), np.int32)),))
    assert movie.clip(np.random.default_rng(0), 3) is None


def test_archives_and_folders_without_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no \.npz"):
        load_sources([tmp_path], "train")
    np.savez(tmp_path / "x.npz", picture=np.zeros(3))
    with pytest.raises(ValueError, match=r"NAME\.image.*picture"):
        load_sources([tmp_path], "train")


@pytest.mark.parametrize("films", [False, True])
def test_generated_scenes_are_never_the_same_twice(films: bool) -> None:
    source = Generated("synthetic", films=films)
    rng = np.random.default_rng(3)
    one, other = source.still(rng), source.still(rng)
    assert one.image.shape[:2] == one.labels.shape
    assert one.image.shape != other.image.shape or (one.image != other.image).any()
    clip = source.clip(rng, 3)
    if films:
        assert clip is not None
        assert len(clip.images) == len(clip.labels) == 3
    else:
        assert clip is None
