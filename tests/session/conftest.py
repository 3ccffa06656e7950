"""A small untrained model, and a stack that it can be asked about."""

from __future__ import annotations

import numpy as np
import pytest

from napari_hqsam2 import Session


@pytest.fixture(scope="session")
def predictor(make_untrained):
    return make_untrained()


@pytest.fixture
def stack(rng):
    return rng.integers(0, 60_000, (6, 40, 50), dtype=np.uint16)


@pytest.fixture
def session(stack, predictor):
    return Session(stack, axes="TYX", model=predictor)
