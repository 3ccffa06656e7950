"""What a widget remembers for the next one."""

import json

import pytest

from napari_hqsam2.plugin.preferences import REMEMBERED, Preferences
from napari_hqsam2.plugin.state import PluginState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new folder" / "widget.json"


def test_choices_come_back(path):
    state = PluginState()
    _kept = Preferences(state, path)
    assert not path.exists()
    state.model = "sam2.1_hiera_large"
    state.resolution = 512
    state.live = False
    state.overlap = "overwrite"
    state.crop = 256
    state.object_id = 7
    again = PluginState()
    _kept = Preferences(again, path)
    assert (again.model, again.resolution) == ("sam2.1_hiera_large", 512)
    assert (again.live, again.overlap, again.object_id) == (False, "overwrite", 1)
    assert again.crop == 256


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "\x00\xff",
        json.dumps({"model": "no such model", "resolution": 512, "live": "yes"}),
        json.dumps({"model": ["x"], "device": 3, "hq_mode": {}, "crop": 7}),
        json.dumps({"resolution": True}),
    ],
)
def test_a_bad_file_is_no_obstacle(path, text):
    path.parent.mkdir()
    path.write_bytes(text.encode("latin-1"))
    state = PluginState()
    _kept = Preferences(state, path)
    usual = PluginState()
    for name in REMEMBERED:
        assert getattr(state, name) == getattr(usual, name)
    state.direction = "forward"
    assert json.loads(path.read_text())["direction"] == "forward"


def test_what_is_valid_in_a_file_is_used(path):
    path.parent.mkdir()
    path.write_text(json.dumps({"hq_mode": "off", "device": "abacus"}))
    state = PluginState()
    _kept = Preferences(state, path)
    assert (state.hq_mode, state.device) == ("off", "auto")


def test_a_folder_that_cannot_be_made_is_noted(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    state = PluginState()
    _kept = Preferences(state, tmp_path / "file" / "widget.json")
    state.live = False
    assert "cannot be remembered" in caplog.text
