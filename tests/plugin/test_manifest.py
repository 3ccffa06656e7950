import importlib
import subprocess
import sys

import pytest
from npe2 import PluginManifest

MANIFEST = PluginManifest.from_distribution("napari-hqsam2")


def test_manifest_is_valid():
    MANIFEST.validate_imports()


@pytest.mark.parametrize("command", MANIFEST.contributions.commands, ids=lambda c: c.id)
def test_every_command_exists_and_is_callable(command):
    module, name = command.python_name.split(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_contributions_are_where_users_look():
    contributions = MANIFEST.contributions
    (entry,) = contributions.menus["napari/layers/annotate"]
    titles = {command.id: command.title for command in contributions.commands}
    assert titles[entry.command] == "Segment with HQ-SAM 2"
    assert [widget.display_name for widget in contributions.widgets] == ["HQ-SAM 2"]
    assert {sample.key for sample in contributions.sample_data} == {
        "nuclei_timelapse",
        "nuclei_volume",
        "cells_two_channels",
        "made_timelapse",
        "made_volume",
        "made_time_volume",
    }


def test_opening_the_widget_does_not_import_torch():
    code = (
        "import sys; import napari_hqsam2.plugin.widgets.main_widget; "
        "import napari_hqsam2.plugin.script; sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_state_and_controller_import_neither_napari_nor_qt():
    code = (
        "import sys; import napari_hqsam2.plugin.controller; "
        "sys.exit(bool({'napari', 'qtpy', 'superqt', 'torch'} & set(sys.modules)))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
