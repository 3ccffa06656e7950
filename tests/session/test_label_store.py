"""Labels change where they must, whatever holds them, and change back."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import SessionError, StackError
from napari_hqsam2.segmentation.masks import ObjectMask, paint
from napari_hqsam2.session.label_store import LabelStore
from napari_hqsam2.session.packed_masks import PackedMask

HW = (90, 12)
AXES = StackAxes("TYX", (2, *HW))


def mask_of(obj_id, top=10, left=2, size=(60, 5)):
    return ObjectMask(obj_id, top, left, np.ones(size, dtype=bool), 1.0, 1.0)


def paint_over(store, *masks, overlap="protect", locked=()):
    return store.paint((1,), masks, overlap=overlap, locked=locked)


@pytest.fixture(params=["numpy", "zarr", "none"])
def store(request, tmp_path):
    array = {
        "numpy": lambda: np.zeros((2, *HW), dtype=np.uint16),
        "zarr": lambda: zarr.create_array(
            tmp_path / "labels.zarr", shape=(2, *HW), chunks=(1, 20, 20), dtype="uint16"
        ),
        "none": lambda: None,
    }[request.param]()
    return LabelStore(array, AXES)


def test_a_patch_is_the_smallest_box_that_changed(store):
    patch = paint_over(store, mask_of(3))
    assert (patch.position, patch.box) == ((1,), (10, 2, 70, 7))
    assert store.mask((1,), 3).sum() == 300
    assert not store.frame((0,)).any()
    assert paint_over(store, mask_of(3)) is None
    moved = paint_over(store, mask_of(3, top=11))
    assert moved.box == (10, 2, 71, 7)
    assert moved.where().sum() == 10


def test_patches_go_back_and_forth(store):
    first = paint_over(store, mask_of(3))
    painted = store.frame((1,)).copy()
    second = paint_over(store, mask_of(4, left=5), overlap="overwrite")
    after = store.frame((1,)).copy()
    assert (after == 4).sum() == 300
    store.apply(second, is_undo=True)
    np.testing.assert_array_equal(store.frame((1,)), painted)
    store.apply(first, is_undo=True)
    assert not store.frame((1,)).any()
    store.apply(first, is_undo=False)
    store.apply(second, is_undo=False)
    np.testing.assert_array_equal(store.frame((1,)), after)


def test_undo_leaves_what_others_painted(store):
    patch = paint_over(store, mask_of(3))
    store.array[1, 80:85, 0:3] = 9
    store.apply(patch, is_undo=True)
    assert (store.frame((1,)) == 9).sum() == 15
    assert not store.mask((1,), 3).any()


def test_locked_pixels_are_not_overwritten(store):
    paint_over(store, mask_of(3))
    paint_over(store, mask_of(4, left=5), overlap="overwrite", locked={3})
    assert store.mask((1,), 3).sum() == 300
    assert store.mask((1,), 4).sum() == 3 * 60


def test_a_label_gets_another_number(store):
    paint_over(store, mask_of(3), mask_of(4, left=8, size=(3, 3)))
    assert store.largest() == 4
    patch = store.relabel((1,), 4, 7)
    assert patch.box == (10, 8, 13, 11)
    assert store.mask((1,), 7).sum() == 9
    assert store.relabel((1,), 4, 7) is None


@given(
    arrays(np.int32, (4, 70, 9), elements=st.integers(0, 3)),
    st.lists(st.integers(1, 4), min_size=1, max_size=2, unique=True),
    st.booleans(),
)
def test_painting_a_box_is_painting_the_frame(labels, obj_ids, is_protecting):
    store = LabelStore(labels.copy(), StackAxes("TYX", labels.shape))
    rng = np.random.default_rng(len(obj_ids))
    masks = [
        ObjectMask(i, 2 * i, 1, rng.random((50, 4)) > 0.5, 0.0, 0.0) for i in obj_ids
    ]
    expected = labels[2].copy()
    paint(expected, masks, protect=is_protecting)
    overlap = "protect" if is_protecting else "overwrite"
    patch = store.paint((2,), masks, overlap=overlap, locked=())
    np.testing.assert_array_equal(store.frame((2,)), expected)
    assert (patch is None) == np.array_equal(labels[2], expected)
    if patch is not None:
        store.apply(patch, is_undo=True)
    np.testing.assert_array_equal(store.array, labels)


def test_labels_that_do_not_fit_are_refused():
    with pytest.raises(StackError, match=r"shape \(3, 4\).*\(2, 90, 12\) \(TYX\)"):
        LabelStore(np.zeros((3, 4), dtype=np.int32), AXES)
    with pytest.raises(StackError, match="integer dtype"):
        LabelStore(np.zeros((2, *HW)), AXES)
    fixed = np.zeros((2, *HW), dtype=np.int32)
    fixed.flags.writeable = False
    for array in (fixed, da.zeros((2, *HW), dtype=np.int32)):
        with pytest.raises(StackError, match="cannot be written"):
            LabelStore(array, AXES)


def test_a_label_too_large_for_the_type_is_refused():
    store = LabelStore(np.zeros((2, *HW), dtype=np.uint8), AXES)
    with pytest.raises(StackError, match="up to 255"):
        paint_over(store, mask_of(256))


def test_undo_wants_a_type_that_holds_the_labels():
    store = LabelStore(None, AXES)
    patch = paint_over(store, mask_of(3))
    labels = store.array
    store.array = labels.astype(np.uint8)
    with pytest.raises(SessionError, match="were int32 and are uint8"):
        store.apply(patch, is_undo=True)
    store.array = labels.astype(np.int64)
    store.apply(patch, is_undo=True)
    assert not store.array.any()


def test_boxes_and_masks_of_labels_across_strips(store):
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 3, HW).astype(store.array.dtype)
    frame[:3], frame[-4:] = 0, 0
    store.array[1] = frame
    rows, columns = np.nonzero(frame == 2)
    box = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
    assert store.box_of((1,), [2]) == box
    assert store.box_of((1,), [7]) is None
    np.testing.assert_array_equal(store.packed((1,), 2).unpacked(), frame == 2)
    assert not store.packed((1,), 7)
    assert store.packed((1,), 2) == PackedMask.of(frame == 2)
    np.testing.assert_array_equal(store.part((1,), (5, 2, 80, 9)), frame[5:80, 2:9])
    assert store.largest() == 2
