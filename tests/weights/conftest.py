from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from napari_hqsam2.weights.cache import CACHE_VARIABLE

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder of the test's own."""
    folder = tmp_path / "câche"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


class TinyModel(nn.Module):
    """A few parameters under official names, so that its variant can be told."""

    def __init__(self, width: int = 96, depth: int = 12, *, hq: bool = False) -> None:
        super().__init__()
        self.image_encoder = nn.Module()
        self.image_encoder.trunk = nn.Module()
        self.image_encoder.trunk.patch_embed = nn.Module()
        self.image_encoder.trunk.patch_embed.proj = nn.Conv2d(3, width, 7)
        self.image_encoder.trunk.blocks = nn.ModuleList(
            nn.Linear(2, 2) for _ in range(depth)
        )
        self.no_obj_embed_spatial = nn.Parameter(torch.randn(1, 4))
        self.register_buffer("gaussian", torch.randn(2, 8))
        if hq:
            self.sam_mask_decoder = nn.Module()
            self.sam_mask_decoder.hf_token = nn.Embedding(1, 8)


@pytest.fixture
def model() -> TinyModel:
    return TinyModel()


@pytest.fixture
def checkpoint(model: TinyModel, tmp_path: Path) -> Path:
    """A checkpoint of `model` as the official ones are stored."""
    path = tmp_path / "mine.pt"
    torch.save({"model": model.state_dict()}, path)
    return path
