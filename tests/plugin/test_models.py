"""The engine of the plugin with real weights."""

import shutil

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.plugin import segment_layers
from napari_hqsam2.plugin.models import ModelEngine
from napari_hqsam2.weights.download import cached_path


def test_weights_of_ones_own(tmp_path):
    viewer, engine = ViewerModel(), ModelEngine()
    viewer.add_image(np.eye(30, dtype=np.uint8)[None] * 200, name="cells")
    viewer.add_points([[0, 5, 5]], name="clicks")
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"no weights")
    options = {"points": "clicks", "engine": engine, "checkpoint": str(path)}
    with pytest.raises(CheckpointError, match=r"mine\.safetensors"):
        segment_layers(viewer, "cells", **options)
    shutil.copy(cached_path("sam2.1_hq_hiera_nano"), path)
    assert engine.whereabouts() == ""
    labels = segment_layers(viewer, "cells", **options)
    assert engine.whereabouts()
    run = labels.metadata["napari-hqsam2"]["last_run"]
    assert run["checkpoint"] == str(path)
