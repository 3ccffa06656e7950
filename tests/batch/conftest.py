"""A small untrained model in the place of the one that jobs ask for, and a stack."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from rich.console import Console

from napari_hqsam2.batch import SegmentJob, partial, work


@pytest.fixture(scope="session")
def model(make_untrained):
    return make_untrained()


@pytest.fixture
def loads(monkeypatch, model):
    """The models that jobs have loaded: all are the small one."""
    asked = []

    def load(name, **_):
        asked.append(name)
        return model

    monkeypatch.setattr(work, "load_model", load)
    return asked


@pytest.fixture
def always_saved(monkeypatch):
    """Keep a job after every frame."""
    monkeypatch.setattr(partial, "SAVED_EVERY", -1)
    monkeypatch.setattr(partial, "MOST_OF_TIME", float("inf"))


@pytest.fixture
def quiet():
    return Console(quiet=True)


def write_stack(path, rng, length=5):
    data = rng.integers(0, 60_000, (length, 40, 50), dtype=np.uint16)
    tifffile.imwrite(
        path, data, photometric="minisblack", metadata={"axes": "TYX"}, ome=False
    )


@pytest.fixture
def job(tmp_path, rng, loads):
    """Two objects, which begin at different frames and are followed both ways."""
    write_stack(tmp_path / "cells.tif", rng)
    table = "t,y,x,object_id\n1,10,12,4\n3,30,30,9\n"
    (tmp_path / "cells.csv").write_text(table)
    return SegmentJob(
        stack=tmp_path / "cells.tif",
        points=tmp_path / "cells.csv",
        output=tmp_path / "labels.tif",
        axes="TYX",
    )
