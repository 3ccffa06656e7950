import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Layer

from napari_hqsam2.plugin import sample_data
from napari_hqsam2.plugin.napari_viewer import NapariViewer

REAL = {
    sample_data.nuclei_timelapse: ("TYX", (32, 130, 130)),
    sample_data.nuclei_volume: ("ZYX", (24, 192, 192)),
    sample_data.cells_two_channels: ("CYX", (2, 210, 576)),
}
MADE = {
    sample_data.made_timelapse: "TYX",
    sample_data.made_volume: "ZYX",
    sample_data.made_time_volume: "TZYX",
}


@pytest.mark.parametrize("sample", REAL, ids=lambda f: f.__name__)
def test_real_samples_open_with_their_axes(sample):
    letters, shape = REAL[sample]
    viewer = ViewerModel()
    (layer,) = [viewer.add_layer(Layer.create(*data)) for data in sample()]
    snapshot = NapariViewer(viewer).snapshot_image(layer)
    assert snapshot.axes.stack.letters == letters
    assert snapshot.axes.stack.shape == shape
    assert snapshot.axes.named


@pytest.mark.parametrize("sample", MADE, ids=lambda f: f.__name__)
def test_procedural_samples_bring_their_truth(sample):
    viewer = ViewerModel()
    image, truth = [viewer.add_layer(Layer.create(*data)) for data in sample()]
    assert isinstance(image, Image)
    assert isinstance(truth, Labels)
    assert NapariViewer(viewer).snapshot_image(image).axes.stack.letters == MADE[sample]
    assert truth.data.shape == image.data.shape
    assert truth.data.max() > 3
    again = sample()[0][0]
    assert np.array_equal(image.data, again)


def test_procedural_time_lapse_has_a_division():
    truth = sample_data.made_timelapse()[1][0]
    first = set(np.unique(truth[0]))
    assert any(set(np.unique(frame)) - first for frame in truth)


def test_every_image_file_is_named_in_the_notice():
    notice = (sample_data.DATA / "NOTICE").read_text(encoding="utf-8")
    files = sorted(sample_data.DATA.glob("*.tif"))
    assert len(files) == 3
    for path in files:
        assert path.name in notice
        assert path.stat().st_size <= 1_500_000
