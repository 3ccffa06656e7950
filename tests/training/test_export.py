"""The shipped file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from napari_hqsam2.training.export import export, main, to_half

if TYPE_CHECKING:
    from pathlib import Path


def test_export_is_half_precision_and_the_same_every_time(tmp_path: Path) -> None:
    weights = {"b": torch.randn(3, 4), "a.x": torch.randn(5)}
    save_file(weights, tmp_path / "in.safetensors")
    hashes = [
        export(
            tmp_path / "in.safetensors", tmp_path / name, {"seed": "0", "model": "m"}
        )
        for name in ("one.safetensors", "two.safetensors")
    ]
    content = (tmp_path / "one.safetensors").read_bytes()
    assert hashes == [hashlib.sha256(content).hexdigest()] * 2
    found = load_file(tmp_path / "one.safetensors")
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        torch.testing.assert_close(found[name], value.half(), rtol=0, atol=0)
    with safe_open(tmp_path / "one.safetensors", "pt") as file:
        assert file.metadata() == {"model": "m", "seed": "0"}


def test_weights_that_float16_cannot_hold_are_refused() -> None:
    with pytest.raises(ValueError, match=r"layer does not fit float16.*1e\+06"):
        to_half({"layer": torch.tensor([1.0e6])})


def test_command_line_keeps_the_recipe(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "in.safetensors")
    paths = [str(tmp_path / name) for name in ("in.safetensors", "out.safetensors")]
    main([*paths, "--recipe", "ten steps"])
    with safe_open(paths[1], "pt") as file:
        assert file.metadata() == {"recipe": "ten steps"}
