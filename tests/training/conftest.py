"""A micro model and a data folder that train in seconds."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2.training.config import RunConfig
from napari_hqsam2.training.run import build_model

if TYPE_CHECKING:
    from napari_hqsam2.modeling.hqsam2 import HqSam2

MICRO = (
    "model.channels=64",
    "model.image_size=64",
    "model.image_encoder.trunk.embed_dim=16",
    "model.image_encoder.trunk.stages=[1,1,1,1]",
    "model.image_encoder.trunk.global_att_blocks=[2]",
    "model.mask_decoder.transformer.mlp_dim=64",
    "model.mask_decoder.iou_hidden_dim=32",
    "model.memory_attention.depth=1",
    "model.memory_attention.mlp_dim=64",
)


def discs(seed: int, size: int = 96, count: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Bright discs on a dark ground, with labels."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((size, size), dtype=np.uint16)
    y, x = np.indices(labels.shape)
    for value in range(1, count + 1):
        row, column = rng.integers(8, size - 8, 2)
        labels[(y - row) ** 2 + (x - column) ** 2 <= 7**2] = value
    image = np.where(labels > 0, 200, 40) + rng.normal(0, 5, labels.shape)
    return image.clip(0, 255).astype(np.uint8), labels


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    stills = {}
    for index in range(12):
        image, labels = discs(index)
        stills[f"{index:02d}.image"], stills[f"{index:02d}.labels"] = image, labels
    np.savez(folder / "dsb2018.npz", **stills)
    image, labels = discs(3)
    movie = np.stack([np.roll(image, t, axis=1) for t in range(28)])
    tracks = np.stack([np.roll(labels, t, axis=1) for t in range(28)])
    np.savez(folder / "moving_tyx.npz", **{"m.image": movie, "m.labels": tracks})
    return folder


@pytest.fixture
def run(data: Path, tmp_path: Path) -> RunConfig:
    return RunConfig(
        data=(data,),
        out=tmp_path / "run",
        overrides=MICRO,
        workers=0,
        bf16=False,
        log_every=1,
        device="cpu",
    )


@pytest.fixture(scope="session")
def new_micro() -> HqSam2:
    return build_model(RunConfig(data=(), out=Path(), overrides=MICRO))


@pytest.fixture
def micro(new_micro: HqSam2) -> HqSam2:
    torch.manual_seed(0)
    return copy.deepcopy(new_micro)
