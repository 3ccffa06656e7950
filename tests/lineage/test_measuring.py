"""Sizes and places are those of scikit-image, however the labels are kept."""

from __future__ import annotations

import dask.array as da
import hypothesis.extra.numpy as npst
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.measuring import Span, measure, measure_planes, read_time


@given(
    npst.arrays(
        np.int32,
        npst.array_shapes(min_dims=3, max_dims=3, max_side=6),
        elements=st.sampled_from([0, 0, 0, 1, 2, 7, -3]),
    ),
    st.booleans(),
)
def test_what_scikit_image_says(volume, has_depth):
    frame = volume if has_depth else volume[0]
    found = measure_planes(volume if has_depth else [frame], has_depth=has_depth)
    expected = regionprops(np.maximum(frame, 0))
    assert found.ids.tolist() == [region.label for region in expected]
    assert found.areas.tolist() == [region.num_pixels for region in expected]
    assert found.centroids.shape == (len(expected), frame.ndim)
    for index, region in enumerate(expected):
        np.testing.assert_allclose(found.centroids[index], region.centroid)
        assert found.boxes[index].ravel().tolist() == list(region.bbox)
        assert found.index(region.label) == index
    assert found.index(5) is None


def test_large_labels_need_no_more_room():
    frame = np.zeros((3, 3), np.int64)
    frame[1, 2] = 2**40
    found = measure_planes([frame], has_depth=False)
    assert found.ids.tolist() == [2**40]
    assert found.centroids.tolist() == [[1, 2]]


@pytest.mark.parametrize("kind", [np.asarray, da.from_array, zarr.array])
def test_frames_and_spans(dividing, kind):
    table = measure(kind(dividing), StackAxes("TYX", dividing.shape))
    assert table.obj_ids == (1, 2, 3, 4)
    assert table.presence()[4] == [0, 1, 4, 5]
    assert table.spans()[1] == Span(0, 2)
    assert table.letters == "YX"


def test_volumes_have_a_depth(volume):
    table = measure(volume, StackAxes("TZYX", volume.shape))
    objects = table.frames[0]
    assert objects.centroids[objects.index(4), 0] == 1
    assert objects.boxes[objects.index(4), :, 0].tolist() == [1, 2]
    assert objects.areas[objects.index(1)] == np.count_nonzero(volume[0] == 1)


def test_any_order_of_time_and_depth(volume):
    axes = StackAxes("ZTYX", volume.swapaxes(0, 1).shape)
    swapped = measure(volume.swapaxes(0, 1), axes)
    table = measure(volume, StackAxes("TZYX", volume.shape))
    for one, two in zip(swapped.frames, table.frames, strict=True):
        np.testing.assert_array_equal(one.centroids, two.centroids)
    np.testing.assert_array_equal(read_time(volume.swapaxes(0, 1), axes, 4), volume[4])


def test_one_frame_changes_alone(dividing):
    axes = StackAxes("TYX", dividing.shape)
    table = measure(dividing, axes)
    empty = measure_planes([dividing[0] * 0], has_depth=False)
    assert table.with_frame(0, empty).presence()[1] == [1, 2]
    assert table.presence()[1] == [0, 1, 2]


def test_other_axes_are_refused():
    with pytest.raises(LineageError, match="TZYX, got PTYX"):
        measure(np.zeros((1, 2, 3, 4), int), StackAxes("PTYX", (1, 2, 3, 4)))
