"""The commands in the documents are commands, with options that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from typer.main import get_command

from napari_hqsam2.cli import app

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
COMMAND = re.compile(r"^ *(?:\.venv/bin/)?napari-hqsam2 (evaluate .*)$", re.MULTILINE)


def commands_in(name: str) -> list[list[str]]:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line) for line in COMMAND.findall(text)]


def evaluate_command(name: str) -> click.Command:
    group = get_command(app).commands["evaluate"]  # type: ignore[attr-defined]
    return group.commands[name]


@pytest.mark.parametrize(
    "words",
    [*commands_in("docs/evaluation.md"), *commands_in("CONTRIBUTING.md")],
    ids=" ".join,
)
def test_command_can_be_given(words: list[str]) -> None:
    command = evaluate_command(words[1])
    with command.make_context(words[1], words[2:]) as context:
        assert str(context.params["output"])


def test_every_command_is_shown_and_every_option_exists() -> None:
    shown = {words[1] for words in commands_in("docs/evaluation.md")}
    assert shown == {"images", "coco", "video", "stacks"}
    options = {
        option
        for name in shown
        for parameter in evaluate_command(name).params
        for option in parameter.opts
    }
    assert set(re.findall(r"`(--[a-z-]+)", GUIDE)) <= options


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\((?!https?:)([^)#]+)", GUIDE):
        assert (ROOT / "docs" / link).is_file(), link
