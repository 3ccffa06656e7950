"""The command ``python -m napari_hqsam2.training``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.training.conftest import MICRO

from napari_hqsam2.training.__main__ import main
from napari_hqsam2.training.config import PHASES, Budget, default_phase, large_phase

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.training.config import PhaseName


def steps_done(folder: Path) -> list[int]:
    log = folder / "log.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [row["step"] for row in rows if "loss" in row]


def test_a_run_is_done_in_sittings(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [f"--data={data}", f"--out={out}", "--device=cpu", "--no-bf16"]
    command += ["--phases", "image", "hq", "--steps=2", "--workers=0", "--sitting=0"]
    command += [f"--override={override}" for override in MICRO]
    for image, hq in (([1], None), ([1, 2], [1]), ([1, 2], [1, 2])):
        main(command)
        assert steps_done(out / "image") == image
        assert not (out / "hq").exists() if hq is None else steps_done(out / "hq") == hq
    main(command)
    assert steps_done(out / "hq") == [1, 2]


def test_scenes_are_drawn_anew_beside_the_images(data: Path, tmp_path: Path) -> None:
    command = [f"--data={data}", f"--out={tmp_path}", "--device=cpu", "--no-bf16"]
    command += ["--phases", "image", "--steps=2", "--workers=0"]
    command += [f"--override={override}" for override in MICRO]
    losses = []
    for options in ([], ["--generate"]):
        main([*command, *options, f"--out={tmp_path / str(len(options))}"])
        log = (tmp_path / str(len(options)) / "image" / "log.jsonl").read_text()
        losses.append(json.loads(log.splitlines()[0])["loss"])
    assert losses[0] != losses[1]


@pytest.mark.parametrize("name", PHASES)
def test_a_gpu_takes_many_more_crops_a_step(name: PhaseName) -> None:
    budget = Budget(steps=1)
    small, large = default_phase(name, budget), large_phase(name, budget)
    for few, many in zip(small.shapes, large.shapes, strict=True):
        assert many.size == few.size
        assert many.crops >= 8 * few.crops
    assert large.shares.keys() == small.shares.keys()
