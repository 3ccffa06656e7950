"""HQ-SAM 2 as stateless verbs over its parts; upstream ``sam2_base.SAM2Base``."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from napari_hqsam2.modeling.casting import Conv2d, Linear, product_dtype
from napari_hqsam2.modeling.derived import Derived
from napari_hqsam2.modeling.image_motion import to_picture
from napari_hqsam2.modeling.layers import MLP
from napari_hqsam2.modeling.mask_decoder import FIRST_MASK, DecoderInput, MaskRequest
from napari_hqsam2.modeling.memory_attention import MemoryTokens
from napari_hqsam2.modeling.memory_tokens import (
    place_codes,
    pointer_tokens,
    rope_of,
    spatial_tokens,
)
from napari_hqsam2.modeling.outputs import (
    HqMode,
    ImageFeatures,
    MaskPrediction,
    ModelPrompts,
    ObjectPrediction,
)
from napari_hqsam2.modeling.position_encoding import (
    axial_rope,
    sine_position_encoding,
    table_dtype,
)
from napari_hqsam2.modeling.windows import at_cells
from napari_hqsam2.ops.prepare_mask import prepare_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.image_encoder import ImageEncoder
    from napari_hqsam2.modeling.mask_decoder import MaskDecoder
    from napari_hqsam2.modeling.mask_refiner import MaskRefiner
    from napari_hqsam2.modeling.memory_attention import MemoryAttention
    from napari_hqsam2.modeling.memory_encoder import MemoryEncoder
    from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
    from napari_hqsam2.modeling.position_encoding import Rope
    from napari_hqsam2.modeling.prompt_encoder import PromptEncoder
    from napari_hqsam2.modeling.windows import GridWindows

OUT_OF_VIEW_LOGIT = -1024.0
MASK_SCALE, MASK_BIAS = 20.0, -10.0
"""A mask from 0 to 1 enters the memory encoder, and leaves as logits, as 20 m - 10."""


@dataclass(frozen=True)
class AttendedFrame:
    """A frame before memory: what is the same for all objects that read theirs."""

    embedding: Tensor
    """(1, C, h, w) image embedding; (N, C, h, w) if every object has its own image."""
    tokens: Tensor
    """(1 or N, h * w, C) after the first self-attention."""
    queries: Tensor
    """(1 or N, h * w, C) with which the first layer looks at memories."""


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
    mask_refiner : MaskRefiner, optional
        Draws masks anew from the pixels around them; the official models have none.

    Notes
    -----
    Parameters carry the names of the official checkpoints. No method keeps anything of
    what it is given; all state of a video lives in `predictors.session.VideoSession`.
    """

    def __init__(  # noqa: PLR0913 - one argument per part
        self,
        image_encoder: ImageEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        memory_attention: MemoryAttention,
        memory_encoder: MemoryEncoder,
        channels: int,
        image_size: int,
        num_memories: int = 7,
        *,
        mask_refiner: MaskRefiner | None = None,
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
        self.mask_refiner = mask_refiner
        self.maskmem_tpos_enc = _token(num_memories, 1, 1, memory_channels)
        self._codes: Derived[Tensor] = Derived()
        self.no_mem_embed = _token(1, 1, channels)
        self.no_mem_pos_enc = _token(1, 1, channels)
        self.no_obj_ptr = _token(1, channels)
        self.no_obj_embed_spatial = _token(1, memory_channels)
        self.mask_downsample = Conv2d(1, 1, kernel_size=4, stride=4)
        self.obj_ptr_proj = MLP((channels, channels, channels, channels))
        self.obj_ptr_tpos_proj = Linear(channels, memory_channels)

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
        decoder = self.sam_mask_decoder
        s0, s1, embedding = self.image_encoder(
            image, (decoder.conv_s0, decoder.conv_s1)
        )
        picture = None
        if self.mask_refiner is not None:
            with torch.autocast(image.device.type, enabled=False):
                picture = to_picture(image)
        return ImageFeatures(embedding, (s0, s1), picture)

    def without_memory(self, embedding: Tensor) -> Tensor:
        """(B, C, h, w) embedding for the decoder where nothing is remembered."""
        return embedding + self.no_mem_embed[0, 0, :, None, None]

    def predict_masks(
        self,
        fused: Tensor,
        high_res: tuple[Tensor, Tensor],
        prompts: ModelPrompts,
        *,
        multimask: bool,
        hq: HqMode = "add",
        windows: GridWindows | None = None,
    ) -> MaskPrediction:
        """Predict the masks of N prompts on an embedding that memory was added to.

        Parameters
        ----------
        fused : Tensor
            (N, C, h, w) or (1, C, h, w), from `fuse_memory` or `without_memory`;
            (N, C, side, side) with windows.
        high_res : tuple of Tensor
            `ImageFeatures.high_res` with batch N or 1.
        prompts : ModelPrompts
            Points, box corners and mask logits.
        multimask : bool
            Three candidates instead of one mask.
        hq : {"add", "only", "off"}
            Use of the high-quality mask.
        windows : GridWindows, optional
            The parts of the frame that `fused` covers. `high_res` and the prompts stay
            those of the whole frame; masks are (N, M, 4 side, 4 side).
        """
        request = MaskRequest(multimask, hq)
        return self._decode(fused, high_res, prompts, windows, request)

    def _decode(
        self,
        fused: Tensor,
        high_res: tuple[Tensor, Tensor],
        prompts: ModelPrompts,
        windows: GridWindows | None,
        request: MaskRequest,
    ) -> MaskPrediction:
        if windows is not None:
            high_res = (windows.crop(high_res[0]), windows.crop(high_res[1]))
        inputs = self.decoder_input(fused, prompts, windows)
        return self.sam_mask_decoder(inputs, high_res, request)

    def decoder_input(
        self, fused: Tensor, prompts: ModelPrompts, windows: GridWindows | None = None
    ) -> DecoderInput:
        """Embed prompts; arguments of `predict_masks`."""
        grid = fused.shape[-2:] if windows is None else windows.grid
        image_pe = self.sam_prompt_encoder.image_pe(*grid)
        if windows is not None:
            image_pe = windows.crop(image_pe)
            if prompts.masks is not None:
                prompts = replace(prompts, masks=windows.crop(prompts.masks))
        sparse, dense = self.sam_prompt_encoder(prompts)
        return DecoderInput(fused, image_pe, sparse, dense)

    def predict_objects(
        self,
        fused: Tensor,
        high_res: tuple[Tensor, Tensor],
        prompts: ModelPrompts,
        *,
        multimask: bool,
        hq: HqMode = "add",
        windows: GridWindows | None = None,
    ) -> ObjectPrediction:
        """Choose one mask for each object; arguments of `predict_masks`.

        Upstream ``_forward_sam_heads``; candidates are compared by their predicted IoU.
        """
        request = MaskRequest(multimask, hq, best_only=True)
        prediction = self._decode(fused, high_res, prompts, windows, request)
        low_res = prediction.masks.to(table_dtype(self.no_mem_embed.dtype))
        is_in_view = prediction.object_score > 0
        return ObjectPrediction(
            low_res=torch.where(
                is_in_view[..., None, None], low_res, OUT_OF_VIEW_LOGIT
            ),
            iou_score=prediction.iou_scores[:, 0],
            pointer=self._pointer(prediction.tokens[:, 0], is_in_view),
            object_score=prediction.object_score,
        )

    def _pointer(self, token: Tensor, is_in_view: Tensor) -> Tensor:
        """(N, C) object pointers from (N, C) mask tokens and (N, 1) presence."""
        return torch.where(is_in_view, self.obj_ptr_proj(token), self.no_obj_ptr)

    def refine_masks(
        self,
        masks: Tensor,
        picture: Tensor | None,
        prompts: ModelPrompts,
        hq: HqMode,
    ) -> Tensor:
        """Draw answers to points anew from the pixels around them, if the model can.

        Parameters
        ----------
        masks : Tensor
            (N, M, 4h, 4w) logits of the whole image.
        picture : Tensor or None
            (1 or N, 1, P, P) `ImageFeatures.picture`.
        prompts : ModelPrompts
            What was said of the objects. Without a point masks stay as they are: what
            is found in a box has better outlines than a refiner draws.
        hq : {"add", "only", "off"}
            Without high quality, masks stay as they are.

        Returns
        -------
        Tensor
            As `masks`.
        """
        if self.mask_refiner is None or picture is None or hq == "off":
            return masks
        refined: Tensor = self.mask_refiner(masks, picture, prompts)
        return refined.to(masks.dtype)

    def adopt_masks(self, features: ImageFeatures, masks: Tensor) -> ObjectPrediction:
        """Take (N, 1, S, S) masks of zeros and ones as they are.

        Upstream ``_use_mask_as_output``.
        """
        masks = masks.to(table_dtype(self.no_mem_embed.dtype))
        low_res = F.interpolate(
            masks * MASK_SCALE + MASK_BIAS,
            scale_factor=0.25,
            mode="bilinear",
            antialias=True,
        )
        count = len(masks)
        prompts = ModelPrompts(masks=self.mask_downsample(masks), nowhere=count)
        # of what the decoder says, only the pointer is used
        decoder = self.sam_mask_decoder
        tokens = decoder.attend(self.decoder_input(features.embedding, prompts))
        is_empty = ~masks.flatten(1).any(dim=1, keepdim=True)
        is_in_view = (decoder.object_score(tokens) > 0) & ~is_empty
        return ObjectPrediction(
            low_res=low_res,
            iou_score=masks.new_ones(count),
            pointer=self._pointer(tokens[:, FIRST_MASK], is_in_view),
            object_score=~is_empty * MASK_SCALE + MASK_BIAS,
        )

    def encode_memory(
        self,
        embedding: Tensor,
        low_res: Tensor,
        object_score: Tensor,
        *,
        binarize: bool,
        windows: GridWindows | None = None,
    ) -> Tensor:
        """Encode what N objects look like on a frame; upstream ``_encode_new_memory``.

        Parameters
        ----------
        embedding : Tensor
            (N, C, h, w) or (1, C, h, w) image embedding without memory.
        low_res : Tensor
            (N, 1, 4h, 4w) mask logits, or (N, 1, 4 side, 4 side) with windows.
        object_score : Tensor
            (N, 1) logit that the object is in view.
        binarize : bool
            Threshold the mask (after prompts) instead of a sigmoid (after tracking).
        windows : GridWindows, optional
            Remember these parts of the frame only; `embedding` stays whole.

        Returns
        -------
        Tensor
            (N, Cm, h, w), or (N, Cm, side, side) with windows.
        """
        mask = prepare_mask(
            low_res,
            binarize=binarize,
            scale=MASK_SCALE,
            bias=MASK_BIAS,
            dtype=product_dtype(self.no_mem_embed),
        )
        memory = self.memory_encoder(embedding, mask, windows)
        absent = (object_score <= 0)[..., None, None]
        return memory + absent * self.no_obj_embed_spatial[..., None, None]

    def attend_frame(self, embedding: Tensor) -> AttendedFrame:
        """Do what all objects share before they read their memories.

        Parameters
        ----------
        embedding : Tensor
            (1, C, h, w) image embedding; (N, C, h, w) if every object has its own.
        """
        channels, height, width = embedding.shape[1:]
        tokens, queries = self.memory_attention.look_around(
            embedding,
            self._sine((height, width), channels),
            self._rope((height, width)),
        )
        return AttendedFrame(embedding, tokens, queries)

    def fuse_memory(
        self,
        frame: AttendedFrame,
        memories: Sequence[SpatialMemory],
        pointers: Sequence[PointerMemory],
        windows: GridWindows | None = None,
    ) -> Tensor:
        """Condition a frame on what N objects remember.

        Parameters
        ----------
        frame : AttendedFrame
            From `attend_frame`, the same for all objects or one for each.
        memories : sequence of SpatialMemory
            At least one; in the order in which attention sees them.
        pointers : sequence of PointerMemory
            May be empty.
        windows : GridWindows, optional
            Look from these parts of the frame only.

        Returns
        -------
        Tensor
            (N, C, h, w), or (N, C, side, side) with windows.
        """
        height, width = frame.embedding.shape[-2:]
        tokens, queries = frame.tokens, frame.queries
        rope = self._rope((height, width))
        shape = (height, width)
        if windows is not None:
            cells = windows.index()
            tokens, queries = at_cells(tokens, cells), at_cells(queries, cells)
            rope = rope.at(cells)
            shape = (windows.side, windows.side)
        memory = self._memory_tokens(memories, pointers, (height, width))
        fused: Tensor = self.memory_attention(tokens, queries, memory, rope)
        return fused.transpose(1, 2).unflatten(2, shape)

    def _memory_tokens(
        self,
        memories: Sequence[SpatialMemory],
        pointers: Sequence[PointerMemory],
        grid: tuple[int, int],
    ) -> MemoryTokens:
        channels = self.maskmem_tpos_enc.shape[-1]
        parts = [spatial_tokens(memories, self._places(memories, grid))]
        plain = 0
        if pointers:
            parts.append(pointer_tokens(pointers, self.obj_ptr_tpos_proj, channels))
            plain = parts[-1].values.shape[1]
        return MemoryTokens(
            torch.cat([part.values for part in parts], dim=1),
            torch.cat([part.keys for part in parts], dim=1),
            rope_of(memories, self._rope(grid)),
            plain,
        )

    def _places(
        self, memories: Sequence[SpatialMemory], grid: tuple[int, int]
    ) -> Tensor:
        """`place_codes`; kept for memories of the whole grid."""
        times = self.maskmem_tpos_enc
        sine = self._sine(grid, times.shape[-1]).flatten(1).T
        compute = partial(place_codes, memories, times, sine)
        if any(memory.windows is not None for memory in memories):
            return compute()
        slots = tuple(memory.slot for memory in memories)
        return self._codes.get((times,), (slots, grid), compute)

    def _rope(self, grid: tuple[int, int]) -> Rope:
        width, dtype = self.no_mem_embed.shape[-1], self.no_mem_embed.dtype
        return axial_rope(*grid, width, self.device, table_dtype(dtype))

    def _sine(self, grid: tuple[int, int], channels: int) -> Tensor:
        dtype = table_dtype(self.no_mem_embed.dtype)
        return sine_position_encoding(*grid, channels, self.device, dtype)


def _token(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))
