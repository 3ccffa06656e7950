"""Pictures of every modality: exact, repeatable, and worth looking at."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_hqsam2.synthetic import MODALITIES, make_image
from napari_hqsam2.synthetic.scenes import number_ids
from napari_hqsam2.synthetic.world import MIN_PIXELS, drop_remnants

NAMES = tuple(MODALITIES)
COLOUR = {"histology", "photo"}


def edges(labels: np.ndarray) -> np.ndarray:
    """Pixels within about one pixel of where one label meets another."""
    out = np.zeros(labels.shape, bool)
    out[1:] |= labels[1:] != labels[:-1]
    out[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return ndimage.binary_dilation(out)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_picture(name: str) -> None:
    first, second = (
        make_image(np.random.default_rng(11), (96, 80), name) for _ in range(2)
    )
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    other = make_image(np.random.default_rng(12), (96, 80), name)
    assert (first.labels != other.labels).any()


@pytest.mark.parametrize("name", NAMES)
def test_outlines_are_where_the_picture_changes(name: str) -> None:
    for seed in range(5):
        scene = make_image(np.random.default_rng(seed), (128, 128), name)
        assert scene.modality == name
        grey = scene.image.astype(np.float32)
        grey = grey.mean(axis=2) if grey.ndim == 3 else grey
        slope = ndimage.gaussian_gradient_magnitude(grey, 1.2)
        edge = edges(scene.labels)
        assert edge.any()
        assert slope[edge].mean() > 1.1 * slope[~edge].mean()
        assert grey.std() > 3


@given(
    name=st.one_of(st.none(), st.sampled_from(NAMES)),
    size=st.tuples(st.integers(32, 150), st.integers(32, 150)),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_ids_are_one_to_n_and_no_object_is_a_remnant(
    name: str | None, size: tuple[int, int], seed: int
) -> None:
    scene = make_image(np.random.default_rng(seed), size, name)
    assert scene.image.dtype == np.uint8
    assert scene.image.shape in (size, (*size, 3))
    assert scene.labels.dtype == np.uint16
    assert scene.labels.shape == size
    counts = np.bincount(scene.labels.ravel())
    assert len(counts) > 1
    assert counts[1:].min() >= MIN_PIXELS


def test_colour_and_grey_both_occur() -> None:
    shapes = {
        name: make_image(np.random.default_rng(4), (40, 40), name).image.ndim
        for name in NAMES
    }
    assert shapes["photo"] == 3
    assert shapes["electron_cells"] == 2
    drawn = {make_image(np.random.default_rng(s), (32, 32)).modality for s in range(40)}
    assert len(drawn) > 10


def test_sixteen_bits_are_the_same_picture() -> None:
    eight = make_image(np.random.default_rng(1), (64, 64), "nuclei")
    sixteen = make_image(np.random.default_rng(1), (64, 64), "nuclei", dtype=np.uint16)
    assert sixteen.image.dtype == np.uint16
    np.testing.assert_array_equal(eight.labels, sixteen.labels)
    np.testing.assert_allclose(sixteen.image / 257, eight.image, atol=0.51)


def test_a_threshold_finds_what_is_labelled() -> None:
    """Independent of how scenes are drawn: large nuclei stand out by level alone."""
    overlap = []
    for seed in range(6):
        scene = make_image(np.random.default_rng(seed), (128, 128), "nuclei_large")
        grey = scene.image.astype(np.float32)
        grey = grey.mean(axis=2) if grey.ndim == 3 else grey
        inside = scene.labels > 0
        level = (grey[inside].mean() + grey[~inside].mean()) / 2
        brighter = grey[inside].mean() > level
        found = grey > level if brighter else grey < level
        overlap.append((found & inside).sum() / (found | inside).sum())
    assert np.median(overlap) > 0.85


def test_stained_cells_are_darker_than_glass_and_their_nuclei_darkest() -> None:
    levels = []
    for seed in range(8):
        scene = make_image(np.random.default_rng(seed), (128, 128), "cytology")
        grey = scene.image.astype(np.float32)
        grey = grey.mean(axis=2) if grey.ndim == 3 else grey
        inside = scene.labels > 0
        nucleus, body = np.quantile(grey[inside], (0.05, 0.7))
        levels.append((nucleus, body, np.quantile(grey[~inside], 0.7)))
    steps = np.diff(levels, axis=1)
    # some polarities are swapped, as cameras do
    assert (np.median(steps, axis=0) > 5).all()


def test_cells_of_neuropil_differ_in_grain() -> None:
    spread = []
    for seed in range(10):
        scene = make_image(np.random.default_rng(seed), (200, 200), "electron_cells")
        image, labels = scene.image.astype(np.float32), scene.labels
        fine = np.abs(image - ndimage.gaussian_filter(image, 1.5))
        lowest, highest = (
            least(labels, 9)
            for least in (ndimage.minimum_filter, ndimage.maximum_filter)
        )
        inner = np.where(lowest == highest, labels, 0)
        values = np.flatnonzero(np.bincount(inner.ravel()) > 50)
        values = values[values > 0]
        grain = ndimage.median(fine, inner, values)
        spread.append(np.log(grain).std() if len(values) > 1 else 0)
    # 0.17 where all cells have one grain and the camera adds its noise
    assert np.median(spread) > 0.21


def test_number_ids_leaves_no_gap_and_keeps_the_order() -> None:
    owners = [
        np.array([[0, 7], [3, 3]], np.int32),
        np.array([[9, 0], [0, 0]], np.int32),
    ]
    ids, id_of = number_ids(owners)
    assert id_of == {3: 1, 7: 2, 9: 3}
    np.testing.assert_array_equal(ids[owners[0]], [[0, 2], [1, 1]])


def test_remnants_lose_their_label() -> None:
    owner = np.zeros((10, 10), np.int32)
    owner[:4, :4], owner[9, :4] = 1, 2
    np.testing.assert_array_equal(np.unique(drop_remnants(owner)), [0, 1])


def test_unknown_modality_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'nucleus'.*nuclei_small.*None"):
        make_image(np.random.default_rng(0), modality="nucleus")


def test_small_size_is_refused_with_the_limit() -> None:
    with pytest.raises(ValueError, match=r"at least 32 pixels, got size \(16, 64\)"):
        make_image(np.random.default_rng(0), (16, 64))


def test_other_dtypes_are_refused() -> None:
    with pytest.raises(ValueError, match="uint8 or uint16, got dtype float32"):
        make_image(np.random.default_rng(0), (32, 32), "nuclei", dtype=np.float32)


def test_needs_no_torch() -> None:
    code = "import sys, napari_hqsam2.synthetic; sys.exit('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], check=False)  # noqa: S603
    assert run.returncode == 0
