"""Our side: predictors with the weights that the baseline gets too."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from tests.benchmarks.scenes import discs
from tests.parity.golden import formula

from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.weights.download import ensure_checkpoint
from napari_hqsam2.weights.state_dict import load_checkpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

Trunk = Literal["nano", "tiny", "large", "bright"]
"""Bright is tiny with a mask head that takes bright pixels as inside, so that masks of
a model without training stay as small as the objects drawn."""
BUILT = {"nano": "nano", "tiny": "tiny", "large": "large", "bright": "tiny"}
NANO = "sam2.1_hq_hiera_nano"
SEED = 1
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DECODER = "sam_mask_decoder"
FITTED_LOGIT = 10.0
BRIGHT = 100
OUTSIDE_COUNTS = 10.0
"""In the fit, how much more all outside pixels count than all inside."""


def weights(
    trunk: Trunk, size: int, like: Mapping[str, Tensor], device: torch.device
) -> dict[str, Tensor]:
    """Weights for a model of this state dict: the packaged ones of nano, or formulas.

    A plain model gets the packaged weights without those of the HQ token.
    """
    if trunk == "nano":
        state = load_checkpoint(ensure_checkpoint(NANO))
        return {name: state[name] for name in like}
    state = {
        name: torch.from_numpy(formula.parameter(name, tuple(value.shape), SEED))
        for name, value in like.items()
    }
    return {**state, **_bright_head(size, device)} if trunk == "bright" else state


@lru_cache(maxsize=3)
def predictor(
    trunk: Trunk, size: int, device: torch.device, *, hq: bool = False
) -> SAM2VideoPredictor:
    """Our video predictor at an input size, without hole filling.

    The baseline fills holes only with an extension that it is installed without.
    """
    name = f"sam2.1_{'hq_' * hq}hiera_{BUILT[trunk]}"
    overrides = [f"model.image_size={size}"]
    made = build_sam2_video_predictor(
        name, device=device, hydra_overrides_extra=overrides, fill_hole_area=0
    )
    made.load_state_dict(weights(trunk, size, made.state_dict(), device))
    return made


def to_images(frames: Tensor, size: int) -> Tensor:
    """(T, 3, S, S) float32, normalised, of (T, H, W, 3) uint8 frames."""
    images = frames.permute(0, 3, 1, 2).float() / 255
    if images.shape[-2:] != (size, size):
        images = F.interpolate(images, size=(size, size), mode="bilinear")
    mean, std = (images.new_tensor(value)[:, None, None] for value in (MEAN, STD))
    return (images - mean) / std


def _bright_head(size: int, device: torch.device) -> dict[str, Tensor]:
    """Parameters that make a mask from the finest image features and nothing else.

    The last up-scaling of the decoder loses its weight, so that its output holds these
    features alone; the masks' weights, which become constant, are fitted to them.
    """
    tiny = predictor("tiny", size, device)
    state = tiny.state_dict()
    frames = torch.from_numpy(discs(16, 2, size, size // 32).frames).to(device)
    with inference(device):
        features = [
            tiny.model.encode_image(to_images(frame[None], size)).high_res[0].float()
            for frame in frames
        ]
    shift = state[f"{DECODER}.output_upscaling.3.bias"]
    rows = F.gelu(torch.cat(features) + shift[:, None, None]).movedim(1, -1)
    wide = F.interpolate(frames[None, ..., 0].float(), scale_factor=0.25, mode="area")
    inside = (wide[0] > BRIGHT).flatten()
    count = torch.where(inside, 1 / inside.sum(), OUTSIDE_COUNTS / (~inside).sum())
    factor = count.double().sqrt().cpu()[:, None]
    target = (inside.double().cpu() * 2 - 1)[:, None]
    rows = rows.flatten(0, 2).double().cpu()
    fit = torch.linalg.lstsq(rows * factor, target * factor).solution[:, 0]
    head: dict[str, Tensor] = {}
    for mask in range(4):
        last = f"{DECODER}.output_hypernetworks_mlps.{mask}.layers.2"
        head[f"{last}.weight"] = torch.zeros_like(state[f"{last}.weight"])
        head[f"{last}.bias"] = (FITTED_LOGIT * fit).to(state[f"{last}.bias"])
    upscaling = f"{DECODER}.output_upscaling.3.weight"
    return {**head, upscaling: torch.zeros_like(state[upscaling])}
