"""HQ-SAM 2 as stateless verbs over its parts; upstream ``sam2_base.SAM2Base``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.layers import MLP
from napari_hqsam2.modeling.memory_attention import MemoryTokens
from napari_hqsam2.modeling.outputs import (
    HqMode,
    ImageFeatures,
    MaskPrediction,
    ModelPrompts,
    ObjectPrediction,
)
from napari_hqsam2.modeling.position_encoding import (
    sine_position_encoding,
    sine_time_encoding,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.image_encoder import ImageEncoder
    from napari_hqsam2.modeling.mask_decoder import MaskDecoder
    from napari_hqsam2.modeling.memory_attention import MemoryAttention
    from napari_hqsam2.modeling.memory_encoder import MemoryEncoder
    from napari_hqsam2.modeling.prompt_encoder import PromptEncoder

OUT_OF_VIEW_LOGIT = -1024.0
MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""A mask from 0 to 1 enters the memory encoder, and leaves as logits, as 20 m - 10."""


@dataclass(frozen=True)
class SpatialMemory:
    """Memory features of one frame, seen from the frame that reads them."""

    slot: int
    """Temporal slot: 0 for a conditioning frame, 1 (farthest) to 6 (nearest) for
    tracked ones."""
    features: Tensor
    """(N, Cm, h, w)."""


@dataclass(frozen=True)
class PointerMemory:
    """Object pointer of one frame, seen from the frame that reads it."""

    distance: float
    """Signed number of frames from that frame to the reader, over the longest distance
    read."""
    pointer: Tensor
    """(N, C)."""


class HqSam2(nn.Module):
    """SAM 2.1 with a plain or a high-quality mask decoder.

    Parameters
    ----------
    image_encoder, prompt_encoder, mask_decoder, memory_attention, memory_encoder
        The parts; a variant of the model is another part.
    channels : int
        C, the width of the image embedding.
    image_size : int
        S, side in pixels of the square input.
    num_memories : int
        Temporal slots: one for conditioning frames, the others for tracked ones.

    Notes
    -----
    Parameters carry the names of the official checkpoints. No method keeps anything of
    what it is given; all state of a video lives in `predictors.session.VideoSession`.
    """

    def __init__(
        self,
        image_encoder: ImageEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        memory_attention: MemoryAttention,
        memory_encoder: MemoryEncoder,
        channels: int,
        image_size: int,
        num_memories: int = 7,
    ) -> None:
        super().__init__()
        self.image_size = image_size
        self.num_memories = num_memories
        memory_channels = memory_encoder.memory_channels
        self.image_encoder = image_encoder
        self.sam_prompt_encoder = prompt_encoder
        self.sam_mask_decoder = mask_decoder
        self.memory_attention = memory_attention
        self.memory_encoder = memory_encoder
        self.maskmem_tpos_enc = _token(num_memories, 1, 1, memory_channels)
        self.no_mem_embed = _token(1, 1, channels)
        self.no_mem_pos_enc = _token(1, 1, channels)
        self.no_obj_ptr = _token(1, channels)
        self.no_obj_embed_spatial = _token(1, memory_channels)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.obj_ptr_proj = MLP((channels, channels, channels, channels))
        self.obj_ptr_tpos_proj = nn.Linear(channels, memory_channels)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.no_mem_embed.device

    @property
    def has_hq(self) -> bool:
        """Whether the decoder has a high-quality mask token."""
        return self.sam_mask_decoder.has_hq

    def encode_image(self, image: Tensor) -> ImageFeatures:
        """Encode (B, 3, S, S) images, normalised with ImageNet's statistics."""
        s0, s1, embedding = self.image_encoder(image)
        decoder = self.sam_mask_decoder
        # one layout whatever the encoder's: convolutions that follow round alike
        return ImageFeatures(
            embedding.contiguous(), (decoder.conv_s0(s0), decoder.conv_s1(s1))
        )

    def without_memory(self, embedding: Tensor) -> Tensor:
        """(B, C, h, w) embedding for the decoder where nothing is remembered."""
        return _decoder_layout(embedding + self.no_mem_embed[0, 0, :, None, None])

    def predict_masks(
        self,
        fused: Tensor,
        high_res: tuple[Tensor, Tensor],
        prompts: ModelPrompts,
        *,
        multimask: bool,
        hq: HqMode = "add",
    ) -> MaskPrediction:
        """Predict the masks of N prompts on an embedding that memory was added to.

        Parameters
        ----------
        fused : Tensor
            (N, C, h, w) or (1, C, h, w), from `fuse_memory` or `without_memory`.
        high_res : tuple of Tensor
            `ImageFeatures.high_res` with batch N or 1.
        prompts : ModelPrompts
            Points, box corners and mask logits.
        multimask : bool
            Three candidates instead of one mask.
        hq : {"add", "only", "off"}
            Use of the high-quality mask.
        """
        sparse, dense = self.sam_prompt_encoder(prompts)
        image_pe = self.sam_prompt_encoder.pe_layer.grid(*fused.shape[-2:])
        return self.sam_mask_decoder(
            fused, image_pe, sparse, dense, high_res, multimask=multimask, hq=hq
        )

    def predict_objects(
        self,
        fused: Tensor,
        high_res: tuple[Tensor, Tensor],
        prompts: ModelPrompts,
        *,
        multimask: bool,
        hq: HqMode = "add",
    ) -> ObjectPrediction:
        """Choose one mask for each object; arguments of `predict_masks`.

        Upstream ``_forward_sam_heads``; candidates are compared by their predicted IoU.
        """
        prediction = self.predict_masks(
            fused, high_res, prompts, multimask=multimask, hq=hq
        )
        best = prediction.iou_scores.argmax(dim=1)
        row = torch.arange(len(best), device=best.device)
        is_in_view = prediction.object_score > 0
        # "only" yields one HQ mask whatever the number of scored candidates
        masks = prediction.masks.expand(-1, prediction.iou_scores.shape[1], -1, -1)
        low_res = masks[row, best][:, None].float()
        pointer = self.obj_ptr_proj(prediction.tokens[row, best])
        return ObjectPrediction(
            low_res=torch.where(
                is_in_view[..., None, None], low_res, OUT_OF_VIEW_LOGIT
            ),
            iou_score=prediction.iou_scores[row, best],
            pointer=torch.where(is_in_view, pointer, self.no_obj_ptr),
            object_score=prediction.object_score,
        )

    def adopt_masks(self, features: ImageFeatures, masks: Tensor) -> ObjectPrediction:
        """Take (N, 1, S, S) masks of zeros and ones as they are.

        Upstream ``_use_mask_as_output``.
        """
        masks = masks.float()
        low_res = F.interpolate(
            masks * MASK_SCALE + MASK_BIAS,
            scale_factor=0.25,
            mode="bilinear",
            antialias=True,
        )
        count = len(masks)
        no_point = masks.new_full((count, 1), -1, dtype=torch.int32)
        prompts = ModelPrompts(
            masks.new_zeros(count, 1, 2), no_point, self.mask_downsample(masks)
        )
        decoded = self.predict_objects(
            _decoder_layout(features.embedding),
            features.high_res,
            prompts,
            multimask=False,
        )
        is_in_view = masks.flatten(1).any(dim=1, keepdim=True)
        return ObjectPrediction(
            low_res=low_res,
            iou_score=masks.new_ones(count),
            pointer=torch.where(is_in_view, decoded.pointer, self.no_obj_ptr),
            object_score=is_in_view * MASK_SCALE + MASK_BIAS,
        )

    def encode_memory(
        self,
        embedding: Tensor,
        low_res: Tensor,
        object_score: Tensor,
        *,
        binarize: bool,
    ) -> Tensor:
        """Encode what N objects look like on a frame; upstream ``_encode_new_memory``.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) or (1, C, h, w) image embedding without memory.
        low_res : Tensor
            (N, 1, 4h, 4w) mask logits.
        object_score : Tensor
            (N, 1) logit that the object is in view.
        binarize : bool
            Threshold the mask (after prompts) instead of a sigmoid (after tracking).

        Returns
        -------
        Tensor
            (N, Cm, h, w).
        """
        size = (embedding.shape[-2] * 16, embedding.shape[-1] * 16)
        low_res = low_res.float()
        if not binarize:
            # upstream enlarges a tracked frame's three candidates at once, which rounds
            # otherwise than one mask alone does
            low_res = low_res.expand(-1, 3, -1, -1)
        logits = F.interpolate(low_res, size=size, mode="bilinear")[:, :1]
        mask = (logits > 0).float() if binarize else logits.sigmoid()
        memory = self.memory_encoder(embedding, mask * MASK_SCALE + MASK_BIAS)
        absent = (object_score <= 0)[..., None, None]
        return memory + absent * self.no_obj_embed_spatial[..., None, None]

    def fuse_memory(
        self,
        embedding: Tensor,
        memories: Sequence[SpatialMemory],
        pointers: Sequence[PointerMemory],
    ) -> Tensor:
        """Condition a frame on what N objects remember.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) or (1, C, h, w) image embedding.
        memories : sequence of SpatialMemory
            At least one; in the order in which attention sees them.
        pointers : sequence of PointerMemory
            May be empty.

        Returns
        -------
        Tensor
            (N, C, h, w).
        """
        count = len(memories[0].features)
        height, width = embedding.shape[-2:]
        tokens = self._memory_tokens(memories, pointers)
        position = sine_position_encoding(
            height, width, embedding.shape[1], embedding.device
        )
        return self.memory_attention(
            embedding.expand(count, -1, -1, -1), position, tokens
        )

    def _memory_tokens(
        self, memories: Sequence[SpatialMemory], pointers: Sequence[PointerMemory]
    ) -> MemoryTokens:
        height, width = memories[0].features.shape[-2:]
        dtype = self.no_mem_embed.dtype
        channels = memories[0].features.shape[1]
        grid = sine_position_encoding(height, width, channels, self.device)
        grid = grid.flatten(1).T[None]
        values = [m.features.to(dtype).flatten(2).transpose(1, 2) for m in memories]
        positions = [
            grid + self.maskmem_tpos_enc[self.num_memories - 1 - m.slot]
            for m in memories
        ]
        num_pointer_tokens = 0
        if pointers:
            split = torch.stack([p.pointer for p in pointers], dim=1)
            split = split.unflatten(-1, (-1, channels))
            per_pointer = split.shape[2]
            values.append(split.flatten(1, 2))
            distance = torch.tensor([p.distance for p in pointers], device=self.device)
            encoded = sine_time_encoding(distance, pointers[0].pointer.shape[-1])
            encoded = self.obj_ptr_tpos_proj(encoded).repeat_interleave(per_pointer, 0)
            positions.append(encoded[None])
            num_pointer_tokens = len(pointers) * per_pointer
        return MemoryTokens(
            values=torch.cat(values, dim=1),
            position=torch.cat(positions, dim=1),
            num_pointer_tokens=num_pointer_tokens,
            grid=(height, width),
        )


def _decoder_layout(embedding: Tensor) -> Tensor:
    """The layout that memory attention leaves; the decoder rounds by it."""
    return embedding.contiguous(memory_format=torch.channels_last)


def _token(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
