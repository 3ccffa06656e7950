"""Masks in few bytes: what goes in comes out, and what is replaced leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from napari_hqsam2.predictors.mask_archive import SMALLEST_WASTE, MaskArchive

HW = (20, 36)
Masks = st.one_of(
    arrays(bool, HW),
    st.tuples(*(st.integers(0, 36) for _ in range(4))).map(
        lambda box: _rectangle(*box)
    ),
)


def _rectangle(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros(HW, dtype=bool)
    mask[top:bottom, left:right] = True
    return mask


def disc(radius: float, side: int = 128) -> np.ndarray:
    rows, columns = np.ogrid[:side, :side]
    return (rows - side / 2) ** 2 + (columns - side / 3) ** 2 < radius**2


class ArchiveMachine(RuleBasedStateMachine):
    """An archive beside a plain dictionary."""

    def __init__(self) -> None:
        super().__init__()
        self.archive = MaskArchive()
        self.model: dict[int, np.ndarray] = {}

    @rule(frame=st.integers(0, 40), mask=Masks)
    def put(self, frame: int, mask: np.ndarray) -> None:
        self.archive.put(frame, mask)
        self.model[frame] = mask.copy()

    @rule(frame=st.integers(0, 50))
    def discard(self, frame: int) -> None:
        self.archive.discard(frame)
        self.model.pop(frame, None)

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.archive) == len(self.model)
        for frame in range(52):
            assert (frame in self.archive) == (frame in self.model)
        for frame, mask in self.model.items():
            np.testing.assert_array_equal(self.archive.get(frame), mask)


TestArchiveMachine = ArchiveMachine.TestCase


@given(Masks)
def test_a_mask_comes_back_as_it_was(mask: np.ndarray) -> None:
    archive = MaskArchive()
    archive.put(3, mask)
    np.testing.assert_array_equal(archive.get(3), mask)


@pytest.mark.parametrize(("radius", "most"), [(0, 8), (4, 50), (8, 80), (15, 100)])
def test_cells_take_few_bytes_a_frame(radius: float, most: int) -> None:
    archive = MaskArchive()
    for frame in range(500):
        archive.put(frame, np.roll(disc(radius), frame % 9, axis=0))
    assert archive.nbytes <= 500 * most


def test_tracking_anew_does_not_grow_the_archive() -> None:
    archive = MaskArchive()
    for frame in range(100):
        archive.put(frame, disc(10))
    once = archive.nbytes
    for _ in range(20):
        for frame in range(100):
            archive.put(frame, disc(10))
    assert archive.nbytes <= 2 * once + SMALLEST_WASTE
    np.testing.assert_array_equal(archive.get(50), disc(10))


def test_a_frame_without_a_mask() -> None:
    archive = MaskArchive()
    archive.put(5, disc(3))
    assert 4 not in archive
    assert -1 not in archive
    archive.discard(99)
    with pytest.raises(KeyError, match="frame 4"):
        archive.get(4)
