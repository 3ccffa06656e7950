"""What changed is measured again, and gives what measuring all gives."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.live_table import LiveTable
from napari_hqsam2.lineage.measuring import measure


def assert_same(one, two):
    assert one.letters == two.letters
    for first, second in zip(one.frames, two.frames, strict=True):
        for name in ("ids", "areas", "centroids", "boxes"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@pytest.mark.parametrize("letters", ["TYX", "TZYX", "ZTYX", "ZYX", "YX"])
def test_plane_by_plane(volume, letters):
    labels = {
        "TYX": volume[:, 1],
        "TZYX": volume,
        "ZTYX": volume.swapaxes(0, 1),
        "ZYX": volume[0],
        "YX": volume[0, 1],
    }[letters].copy()
    axes = StackAxes(letters, labels.shape)
    live = LiveTable(axes)
    assert live.table().obj_ids == ()
    for place in live.missing():
        live.put(place, labels[place])
    assert live.missing() == []
    assert_same(live.table(), measure(labels, axes))
    place = tuple(0 for _ in axes.leading)
    labels[place][2:5, 3:9] = 77
    live.put(place, labels[place])
    assert_same(live.table(), measure(labels, axes))


def test_other_axes_are_refused():
    with pytest.raises(LineageError, match="got PYX"):
        LiveTable(StackAxes("PYX", (2, 3, 4)))
