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


IMPORTS = (
    ("controller", "sys", {"torch", "qtpy", "superqt", "napari"}),
    # old versions of napari import qtpy for their layers
    ("script", "napari.components, napari.layers", {"torch", "qtpy"}),
    ("widgets.main_widget", "sys", {"torch"}),
)
"""Modules, what is imported before them, and what they must not import then."""


def test_imports_stay_light():
    code = "import sys\n"
    for module, before, unwanted in IMPORTS:
        code += (
            f"import {before}\n"
            "before = set(sys.modules)\n"
            f"import napari_hqsam2.plugin.{module}\n"
            f"found = {unwanted} & (set(sys.modules) - before)\n"
            f"assert not found, ('{module}', found)\n"
        )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)  # noqa: S603
