"""Small stacks of discs that move, divide, leave and come back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2.lineage.divisions import Division


def draw(frame, obj_id, y, x, radius):
    """Put a disc into an image."""
    rows, columns = np.ogrid[: frame.shape[0], : frame.shape[1]]
    frame[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = obj_id


@pytest.fixture
def dividing():
    """(6, 40, 50) labels: 1 divides into 2 and 3 at T=3; 4 is away at T=2 and 3."""
    labels = np.zeros((6, 40, 50), np.int32)
    for time in range(6):
        if time < 3:
            draw(labels[time], 1, 15, 20 + time, 6)
        else:
            draw(labels[time], 2, 15, 16 - time, 4)
            draw(labels[time], 3, 15, 27 + time, 4)
        if time not in (2, 3):
            draw(labels[time], 4, 33, 10 + time, 3)
    return labels


@pytest.fixture
def division():
    return Division(frame=3, mother=1, daughters=(2, 3))


@pytest.fixture
def volume(dividing):
    """(6, 3, 40, 50) the same as a time-lapse of volumes, 4 in one slice only."""
    labels = np.stack([dividing] * 3, axis=1)
    labels[:, 0][labels[:, 0] == 4] = 0
    labels[:, 2][labels[:, 2] == 4] = 0
    return labels
