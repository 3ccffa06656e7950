"""Every command from end to end, with the built-in model on tiny data."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from napari_hqsam2 import evaluation
from napari_hqsam2.cli import app
from napari_hqsam2.cli import evaluation as printing
from napari_hqsam2.evaluation.coco_run import COLUMNS
from napari_hqsam2.evaluation.results import Table

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

FAST = ("--device", "cpu", "--resolution", "128")


def evaluate(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments), *FAST])


def ok(*arguments: object) -> str:
    result = evaluate(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def summary_of(folder: Path) -> dict[str, list[dict[str, float]]]:
    with Image.open(folder / "cases.png") as picture:
        assert picture.width > 300
    return json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_images(pictures: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok("images", *pictures, "-o", out, "--clicks", 6, "--hq", "add", "--hq", "off")
    summary = summary_of(out)
    assert summary["settings"]["model"] == "sam2.1_hq_hiera_nano"
    assert len(summary["settings"]["weights_sha256"]) == 64
    assert summary["settings"]["limit"] == ""
    means = {(row["hq"], row["prompt"]): row for row in summary["means"]}
    assert means["add", "box"]["objects"] == 5
    assert means["", "otsu_watershed"]["iou"] > 0.9
    assert means["off", "box"]["iou"] > 0.7
    assert {row["goal"] for row in summary["clicks_needed"]} == {0.85, 0.9}
    before = (out / "scores.csv").read_bytes()
    ok("images", *pictures, "-o", out, "--clicks", 6, "--hq", "add", "--hq", "off")
    assert (out / "scores.csv").read_bytes() == before


def test_coco(coco: tuple[Path, Path, Path], tmp_path: Path) -> None:
    folder, truth, boxes = coco
    out = tmp_path / "out"
    ok("coco", folder, truth, "--boxes", boxes, "-o", out)
    modes = {row["masks"]: row for row in summary_of(out)["average_precision"]}
    assert modes.keys() == {"single", "multi"}
    assert modes["single"]["boxes"] == 5
    assert modes["single"]["ap50"] == pytest.approx(1)
    assert 0 < modes["single"]["boundary_ap"] <= modes["single"]["ap"] <= 1


def test_video(davis: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok("video", davis, "--layout", "davis2017", "-o", out)
    (means,) = summary_of(out)["means"]
    assert (means["videos"], means["objects"]) == (1, 2)
    assert means["j_and_f"] == pytest.approx((means["j_mean"] + means["f_mean"]) / 2)
    (video,) = rows_of(out / "sequences.csv")
    assert (video["video"], video["objects"]) == ("discs", "2")
    assert len(list((out / "masks" / "discs").glob("*.png"))) == 5


def test_stacks_of_the_cell_tracking_challenge(ctc: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok("stacks", ctc, "--layout", "ctc", "-o", out)
    mean = summary_of(out)["cell_tracking"][-1]
    assert mean["sequence"] == "mean"
    assert all(0.5 < mean[name] <= 1 for name in ("seg", "seg_followed", "det", "tra"))
    assert len(rows_of(out / "cells.csv")) == 2 + 2 + 4 + 4


def test_stacks_of_volumes(volumes: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ok("stacks", volumes, "--layout", "volumes", "--start", "box", "-o", out)
    first, *_, last = summary_of(out)["instances"]
    assert (first["iou_threshold"], last["iou_threshold"]) == (0.5, 0.95)
    assert first["objects"] == 3
    assert first["recall"] >= last["recall"]
    assert (out / "labels" / "a.tif").is_file()


def test_other_options_in_the_same_folder_are_refused(
    volumes: Path, tmp_path: Path
) -> None:
    command = ("stacks", volumes, "--layout", "volumes", "-o", tmp_path / "out")
    ok(*command)
    result = evaluate(*command, "--start", "click")
    assert result.exit_code == 1
    assert "start was 'mask', now 'click'" in " ".join(result.output.split())


def test_without_its_package_coco_says_what_to_install(
    coco: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("coco_run", "coco_metrics"):
        monkeypatch.delitem(sys.modules, f"{evaluation.__name__}.{name}", raising=False)
        monkeypatch.delattr(evaluation, name, raising=False)
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    folder, truth, boxes = coco
    result = evaluate("coco", folder, truth, "--boxes", boxes, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "pip install 'napari-hqsam2[evaluate]'" in " ".join(result.output.split())


def test_wide_tables_are_whole_in_narrow_terminals(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console = Console(width=80, file=io.StringIO())
    monkeypatch.setattr(printing, "out", console)
    columns = ("hq", "masks", "boxes", *COLUMNS, "iou_of_matched")
    figures = [0.1 + n / 1000 for n in range(7)]
    row = ("add", "single", 36781, *figures, math.nan)
    printing.print_table(Table("average_precision", columns, (row,)))
    printed = console.file.getvalue()
    assert all(f"{figure:.3f}" in printed for figure in figures)
    assert "…" not in printed
    assert "nan" not in printed
    words = printed.split()
    assert all(word in words for name in columns for word in name.split("_"))
    matches = ("iou_threshold", "true_objects", "positives", "precision", "recall")
    matches += ("f1", "matched_score", "panoptic_quality")
    printing.print_table(Table("instances", matches, ((0.5, 16, 6, *figures[:5]),)))
    words = console.file.getvalue().split()
    assert all(word in words for name in matches for word in name.split("_"))


def test_weights_that_do_not_fit_are_named(volumes: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"nothing")
    command = ("stacks", volumes, "--layout", "volumes", "-o", tmp_path / "out")
    result = evaluate(*command, "--checkpoint", wrong)
    assert result.exit_code == 1
    assert "wrong.safetensors" in "".join(result.output.split())
