"""Labels that one thread writes and another one owns."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.label_view import LabelView, LabelWrite


class Layer:
    def __init__(self, shape=(3, 8, 9)):
        self.data = np.zeros(shape, dtype=np.int32)
        self.error = None
        self.sizes = []

    def label_array(self, _):
        return self.data

    def write_labels(self, _, write):
        if self.error:
            raise self.error
        self.sizes.append(write.where.shape)
        write.apply(self.data[write.position])


@pytest.fixture
def made():
    """A layer, a view of it, and what is on its way to it."""
    layer, told = Layer(), []
    view = LabelView(layer, "labels", lambda call, *args: told.append((call, args)))
    return SimpleNamespace(layer=layer, view=view, told=told)


def arrive(made):
    while made.told:
        call, args = made.told.pop(0)
        call(*args)


def test_what_was_written_is_there_before_it_arrives(made):
    view, layer = made.view, made.layer
    view[1, 2:5, 3:6] = np.full((3, 3), 7)
    assert (view[1,] == 7).sum() == 9
    assert not layer.data.any()
    assert not view[0,].any()
    arrive(made)
    assert (layer.data[1] == 7).sum() == 9
    assert view[1,].base is layer.data


def test_only_changed_pixels_are_sent_and_paint_in_between_stays(made):
    view, layer = made.view, made.layer
    view[1, 0:8, 0:9] = np.eye(8, 9, dtype=int)[:, :] * 2
    layer.data[1, 0, 5] = 4
    arrive(made)
    assert layer.data[1, 0, 5] == 4
    assert (layer.data[1] == 2).sum() == 8
    view[1, 0:8, 0:9] = view[1,]
    assert made.told == []


def test_the_smallest_box_travels(made):
    made.view[2,] = np.pad([[5, 5]], ((3, 4), (2, 5)))
    arrive(made)
    assert made.layer.sizes == [(1, 2)]


def test_a_wider_type_is_followed(made):
    made.layer.data = made.layer.data.astype(np.int64)
    made.view[0, 0:1, 0:1] = 2**40
    arrive(made)
    assert made.layer.data[0, 0, 0] == 2**40
    assert made.view.dtype == np.int64


def test_labels_that_do_not_fit_any_more_stop_whoever_writes(made):
    made.layer.error = StackError("other shape")
    made.view[0, 0:1, 0:1] = 1
    arrive(made)
    with pytest.raises(StackError, match="other shape"):
        _ = made.view[0,]


def test_single_images_have_one_frame():
    layer = Layer((8, 9))
    view = LabelView(layer, "labels", lambda call, *args: call(*args))
    view[2:4, 3:5] = np.ones((2, 2))
    assert view[()].sum() == layer.data.sum() == 4


LABELS = npst.arrays(np.int32, (6, 7), elements=st.integers(0, 3))


@given(LABELS, LABELS)
def test_a_write_says_exactly_what_differs(before, after):
    write = LabelWrite.between((), (slice(0, 6), slice(0, 7)), before, after)
    frame = before.copy()
    if write.where.size:
        write.apply(frame)
        assert write.where.any(axis=1)[[0, -1]].all()
    np.testing.assert_array_equal(frame, after)
