"""Files become frames as prediction sees them; nothing is both learnt and measured."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_hqsam2.errors import StackError, TrainingError
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.training.fine_tuning.data_files import DataFiles
from napari_hqsam2.training.fine_tuning.pairs import Pair
from napari_hqsam2.training.fine_tuning.stacks import (
    FileSource,
    LabelledStack,
    Place,
    Reading,
    open_labelled,
    split,
)

LABELS = np.zeros((40, 50), dtype=np.uint16)
for value, row in enumerate(range(2, 36, 8), 1):
    LABELS[row : row + 5, 4:40] = value


def write(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".zarr":
        zarr.save_array(path, array)
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".png":
        Image.fromarray(array).save(path)
    else:
        tifffile.imwrite(path, array, photometric="minisblack")
    return path


def opened(
    folder: Path,
    image: np.ndarray,
    labels: np.ndarray,
    kind: str = "npy",
    reading: Reading | None = None,
) -> LabelledStack:
    pair = Pair(
        write(folder / f"image.{kind}", image), write(folder / f"labels.{kind}", labels)
    )
    return open_labelled(pair, reading or Reading())


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        *itertools.product(("npy", "tif", "zarr", "png"), (np.uint8, np.uint16)),
        *itertools.product(("npy", "tif", "zarr"), (np.float32,)),
    ],
)
def test_images_are_read_with_the_contrast_of_prediction(
    kind: str, dtype: type, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = rng.integers(20, 200, LABELS.shape).astype(dtype)
    stack = opened(tmp_path, image, LABELS, kind)
    clip = stack.read(stack.frames)
    values = (0.0, 255.0) if dtype is np.uint8 else np.percentile(image, (0.1, 99.9))
    np.testing.assert_allclose(clip.images[0], to_unit_rgb(image, tuple(values)))
    np.testing.assert_array_equal(clip.labels[0], LABELS)


def test_stacks_with_channels_are_read_frame_by_frame(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 255, (3, 2, 4, *LABELS.shape), dtype=np.uint8)
    labels = np.zeros((3, 4, *LABELS.shape), dtype=np.int64)
    labels[1, 2] = LABELS
    labels[2, 0, 0, 0] = 2**40
    stack = opened(tmp_path, image, labels, reading=Reading("TCZYX", channels=(1,)))
    assert (stack.run, stack.frames) == (4, (6, 8))
    clip = stack.read([6, 8])
    np.testing.assert_allclose(clip.images[0, ..., 0], image[1, 1, 2] / 255, atol=1e-6)
    np.testing.assert_array_equal(clip.labels[0], LABELS)
    assert clip.labels[1, 0, 0] == LABELS.max() + 1


@pytest.mark.parametrize(
    ("image", "labels", "words"),
    [
        (LABELS, LABELS.astype(np.float32), r"labels\.npy are float32.*astype"),
        (LABELS, LABELS[:-1], r"Y=39, X=50.*does not fit image\.npy.*--axes"),
        (LABELS, np.stack([LABELS] * 3), "T=3, Y=40.*does not fit"),
        (LABELS[:8, :8], LABELS[:8, :8], "8 x 8 pixels.*at least 32"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    image: np.ndarray, labels: np.ndarray, words: str, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=words):
        opened(tmp_path, image, labels)


def test_colour_pictures_are_no_labels(tmp_path: Path) -> None:
    colours = np.stack([LABELS] * 3, axis=-1).astype(np.uint8)
    with pytest.raises(TrainingError, match=r"3 channels.*colour picture"):
        opened(tmp_path, LABELS.astype(np.uint8), colours, "png")


def test_files_without_objects_are_refused(tmp_path: Path) -> None:
    files = DataFiles(
        images=write(tmp_path / "i.npy", LABELS),
        labels=write(tmp_path / "l.npy", np.zeros_like(LABELS)),
    )
    with pytest.raises(TrainingError, match=r"empty.*no object to learn from"):
        files.read(print)
    (tmp_path / "l.npy").write_bytes(b"no array")
    with pytest.raises(StackError, match=r"l\.npy"):
        files.read(print)


def test_the_fingerprint_tells_pixels_and_labels(tmp_path: Path) -> None:
    digest = opened(tmp_path, LABELS, LABELS).digest
    other = LABELS.copy()
    other[0, 0] = 7
    assert opened(tmp_path, LABELS, LABELS).digest == digest
    assert opened(tmp_path, other, LABELS).digest != digest
    assert opened(tmp_path, LABELS, other).digest != digest


def stack_of(name: str, frames: int) -> LabelledStack:
    pair = Pair(Path(name), Path(name))
    return LabelledStack(pair, Reading(), (0, 1), frames, tuple(range(frames)), name)


@given(
    frames=st.lists(st.integers(1, 5), min_size=1, max_size=8),
    share=st.floats(0.01, 0.9),
    seed=st.integers(0, 99),
)
def test_no_file_is_on_both_sides_and_no_frame_is_lost(
    frames: list[int], share: float, seed: int
) -> None:
    stacks = [stack_of(str(i), count) for i, count in enumerate(frames)]
    if sum(frames) == 1:
        return
    parts = split(stacks, share, seed)
    assert parts.train
    assert parts.validation
    everything = [Place(stack, i) for stack in stacks for i in stack.frames]
    sides = [*parts.train, *parts.validation]
    assert sorted(map(repr, sides)) == sorted(map(repr, everything))
    if len(stacks) > 1:
        names = [{p.stack.digest for p in side} for side in vars(parts).values()]
        assert not names[0] & names[1]
    else:
        assert parts.train[-1].frame < parts.validation[0].frame


@pytest.mark.parametrize("binary", [False, True])
def test_objects_of_a_single_image_are_split(binary: bool, tmp_path: Path) -> None:
    labels = (LABELS > 0).astype(np.uint8) if binary else LABELS
    parts = split([opened(tmp_path, LABELS, labels)], 0.4, 0)
    learnt, measured = (side[0].read().labels for side in vars(parts).values())
    assert len(np.unique(measured[measured > 0])) == (1 if binary else 2)
    assert not ((learnt > 0) & (measured > 0)).any()
    np.testing.assert_array_equal((learnt > 0) | (measured > 0), LABELS > 0)


def test_one_object_alone_cannot_be_held_out(tmp_path: Path) -> None:
    stack = opened(tmp_path, LABELS, np.where(LABELS == 1, LABELS, 0))
    with pytest.raises(TrainingError, match=r"one object only.*--validation"):
        split([stack], 0.2, 0)
    assert split([stack], 0.0, 0).validation == ()


def test_clips_are_labelled_frames_in_a_row(tmp_path: Path) -> None:
    labels = np.stack([LABELS] * 12).reshape(2, 6, *LABELS.shape)
    labels[0, 3] = 0
    stack = opened(tmp_path, np.zeros(labels.shape, np.uint8), labels)
    source = FileSource(tuple(Place(stack, frame) for frame in stack.frames))
    assert source.has_clips(6)
    assert not source.has_clips(7)
    starts = {place.frame for place in source._starts(3)}
    assert starts == {0, 6, 7, 8, 9}
    clip = source.clip(np.random.default_rng(0), 3)
    assert clip is not None
    assert clip.labels.shape == (3, *LABELS.shape)
    assert source.clip(np.random.default_rng(0), 7) is None
