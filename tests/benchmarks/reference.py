"""The baseline: the PyPI package sam2, with the weights and the frames that ours gets.

Its predictor takes paths only, and rounds memories to bfloat16 even where all else is
float32. Both are put right from outside, by replacing names in its module.
"""

from __future__ import annotations

import importlib
from contextlib import contextmanager
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from tests.benchmarks.models import Trunk, to_images, weights

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from napari_hqsam2._types import HW

MISSING = "sam2 is not installed (make reference)"
LETTERS = {"nano": "t", "tiny": "t", "bright": "t", "large": "l"}
NANO = (
    "image_encoder.trunk.embed_dim=48",
    "image_encoder.trunk.num_heads=1",
    "image_encoder.trunk.stages=[1,2,4,1]",
    "image_encoder.trunk.global_att_blocks=[4,6]",
    "image_encoder.trunk.window_pos_embed_bkg_spatial_size=[8,8]",
    "image_encoder.trunk.window_spec=[8,4,16,8]",
    "image_encoder.neck.d_model=192",
    "image_encoder.neck.position_encoding.num_pos_feats=192",
    "image_encoder.neck.backbone_channel_list=[384,192,96,48]",
    "memory_attention.d_model=192",
    "memory_attention.num_layers=2",
    "memory_attention.layer.d_model=192",
    "memory_attention.layer.dim_feedforward=512",
    "memory_attention.layer.self_attention.embedding_dim=192",
    "memory_attention.layer.cross_attention.embedding_dim=192",
    "memory_encoder.in_dim=192",
    "memory_encoder.mask_downsampler.embed_dim=192",
    "memory_encoder.fuser.layer.dim=192",
)
"""sam2's configuration in the sizes of our nano model, but for the mask decoder."""


def is_installed() -> bool:
    """Whether there is a baseline."""
    return find_spec("sam2") is not None


def name() -> str:
    """Package and version."""
    return f"sam2 {version('sam2')}"


@cache
def _module() -> ModuleType:
    module = importlib.import_module("sam2.sam2_video_predictor")
    vars(module)["tqdm"] = lambda frames, **_: frames
    return module


class _Float32Memories(ModuleType):
    """torch, except that what is said to be bfloat16 stays float32."""

    bfloat16 = torch.float32

    def __getattr__(self, attribute: str) -> Any:
        """Everything else is torch's own."""
        return getattr(torch, attribute)


@contextmanager
def computing(device: torch.device) -> Iterator[None]:
    """Compute as upstream's examples do: bfloat16 on CUDA, float32 elsewhere."""
    if device.type == "cuda":
        context: Any = torch.autocast("cuda", torch.bfloat16)
    else:
        context = patch.object(_module(), "torch", _Float32Memories("torch"))
    with torch.inference_mode(), context:
        yield


def as_stored(state: Any) -> Any:
    """Put memories back to bfloat16, as sam2 would hold them."""
    for outputs in state["output_dict_per_obj"].values():
        for frames in outputs.values():
            for output in frames.values():
                output["maskmem_features"] = output["maskmem_features"].bfloat16()
    return state


def _nano_decoder(predictor: Any) -> None:
    """Give sam2's model the narrow decoder that our nano model has."""
    decoders = importlib.import_module("sam2.modeling.sam.mask_decoder")
    transformers = importlib.import_module("sam2.modeling.sam.transformer")
    predictor.sam_mask_decoder = decoders.MaskDecoder(
        transformer_dim=192,
        transformer=transformers.TwoWayTransformer(
            depth=2, embedding_dim=192, mlp_dim=512, num_heads=4
        ),
        iou_head_hidden_dim=192,
        use_high_res_features=True,
        iou_prediction_use_sigmoid=True,
        dynamic_multimask_via_stability=True,
        pred_obj_scores=True,
        pred_obj_scores_mlp=True,
        use_multimask_token_for_obj_ptr=True,
    ).eval()


@lru_cache(maxsize=2)
def predictor(trunk: Trunk, size: int, device: torch.device) -> Any:
    """sam2's video predictor at an input size, without hole filling."""
    _module()
    build = importlib.import_module("sam2.build_sam")
    sizes = NANO if trunk == "nano" else ()
    made = build.build_sam2_video_predictor(
        f"configs/sam2.1/sam2.1_hiera_{LETTERS[trunk]}.yaml",
        device="cpu",
        hydra_overrides_extra=[
            f"++model.{override}" for override in (*sizes, f"image_size={size}")
        ],
    )
    if trunk == "nano":
        _nano_decoder(made)
    made.load_state_dict(weights(trunk, size, made.state_dict(), device))
    made.fill_hole_area = 0
    return made.to(device)


def without_overlap(masks: torch.Tensor) -> torch.Tensor:
    """(N, 1, H, W) logits in which sam2 has left one object to each pixel."""
    constrained: torch.Tensor = (
        _module().SAM2VideoPredictor._apply_non_overlapping_constraints(None, masks)
    )
    return constrained


def open_frames(predictor: Any, frames: npt.NDArray[np.uint8], hw: HW) -> Any:
    """sam2's state for (T, H, W, 3) frames that are said to be of another size `hw`."""
    pixels = torch.from_numpy(frames).to(predictor.device)
    images = to_images(pixels, predictor.image_size)

    def load(**_: object) -> tuple[torch.Tensor, int, int]:
        return images, *hw

    with patch.object(_module(), "load_video_frames", load):
        return predictor.init_state("frames in memory")
