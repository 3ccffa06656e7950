"""The network applied to a batch of objects on one frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from napari_hqsam2.modeling.hqsam2 import OUT_OF_VIEW_LOGIT
from napari_hqsam2.modeling.image_motion import (
    LARGEST_LOGIT,
    moved,
    resized_motion,
)
from napari_hqsam2.modeling.outputs import ModelPrompts, ObjectPrediction
from napari_hqsam2.ops.compose_labels import positive_boxes
from napari_hqsam2.predictors.local_windows import CellBox, Sighting, window_around
from napari_hqsam2.predictors.memory_bank import (
    LOW_RES_PER_CELL,
    FrameOutput,
    Glimpse,
)
from napari_hqsam2.predictors.object_batch import (
    to_memories,
    to_pointers,
    to_windows,
    window_of,
)
from napari_hqsam2.predictors.postprocess import fill_holes, keep_largest_piece

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW
    from napari_hqsam2.modeling.hqsam2 import AttendedFrame, HqSam2
    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.modeling.windows import GridWindows
    from napari_hqsam2.predictors.local_windows import Window
    from napari_hqsam2.predictors.object_batch import Reading
    from napari_hqsam2.predictors.session import PendingOutput, VideoSession
    from napari_hqsam2.predictors.tracking_config import TrackingConfig


@dataclass(frozen=True)
class FrameView:
    """One frame as all objects see it."""

    features: ImageFeatures
    attended: AttendedFrame
    pointer_span: int
    """Frames that pointer distances are counted in."""
    motion: Tensor | None = None
    """(1, 2, H, W) how the image has moved from the frame before; None if no mask of
    that is known."""

    @property
    def grid(self) -> HW:
        """(h, w)."""
        height, width = self.features.embedding.shape[-2:]
        return height, width


@dataclass(frozen=True)
class BatchPrediction:
    """Masks of a batch, not yet remembered."""

    prediction: ObjectPrediction
    """Of N objects; logits of the windows if there are any."""
    windows: GridWindows | None
    sightings: tuple[Sighting | None, ...]
    """N of them; None if tracking is exact."""

    def __getitem__(self, rows: list[int]) -> BatchPrediction:
        """Some objects, in ascending order."""
        if len(rows) == len(self.sightings):
            return self
        whole = self.prediction
        return BatchPrediction(
            ObjectPrediction(
                whole.low_res[rows],
                whole.iou_score[rows],
                whole.pointer[rows],
                whole.object_score[rows],
            ),
            None if self.windows is None else self.windows[rows],
            tuple(self.sightings[row] for row in rows),
        )


@dataclass(frozen=True)
class BatchNetwork:
    """Predict and remember objects that have all shapes in common."""

    model: HqSam2
    config: TrackingConfig
    session: VideoSession
    single: bool = False
    """Compute in float32, also what was remembered in less."""

    @property
    def pointer_tokens(self) -> int:
        """Memory tokens that one object pointer is cut into."""
        memory_channels: int = self.model.memory_encoder.memory_channels
        return self.model.no_obj_ptr.shape[-1] // memory_channels

    def predict(self, view: FrameView, batch: Sequence[Reading]) -> BatchPrediction:
        """Find N objects on a frame by what they remember."""
        device = self.model.device
        asked = [reading.window for reading in batch]
        windows = to_windows(asked, view.grid, device)
        fused = self.model.fuse_memory(
            view.attended,
            to_memories(batch, view.grid, device),
            to_pointers(
                batch, view.pointer_span, device, torch.float32 if self.single else None
            ),
            windows,
        )
        masks = self._moved(view, batch)
        prediction = self.model.predict_objects(
            fused,
            view.features.high_res,
            ModelPrompts(nowhere=len(batch), masks=masks),
            multimask=True,
            hq=self.session.hq,
            windows=windows,
        )
        if masks is not None:
            seen = masks if windows is None else windows.crop(masks)
            prediction = self._mixed(prediction, seen)
        return BatchPrediction(
            prediction, windows, self._sightings(prediction.low_res, asked)
        )

    def _moved(self, view: FrameView, batch: Sequence[Reading]) -> Tensor | None:
        """(N, 1, 4h, 4w) masks of the frame before, moved to this one, if known."""
        known = [reading.mask for reading in batch if reading.mask is not None]
        if view.motion is None or not known:
            return None
        masks = torch.cat(known).to(self.model.device, self.model.no_mem_embed.dtype)
        limit = LARGEST_LOGIT
        masks, motion = masks.clamp(-limit, limit), resized_motion(view.motion, masks)
        return moved(masks, motion, smooth=True).clamp(-limit, limit)

    def _mixed(self, prediction: ObjectPrediction, masks: Tensor) -> ObjectPrediction:
        """What the network found mixed with moved masks, where objects are in view."""
        share, found = self.config.moved_share, prediction.low_res
        limited = found.clamp(-LARGEST_LOGIT, LARGEST_LOGIT)
        mixed = share * masks + (1 - share) * limited
        is_in_view = (prediction.object_score > 0)[..., None, None]
        return replace(prediction, low_res=torch.where(is_in_view, mixed, found))

    def finish(self, view: FrameView, found: BatchPrediction) -> list[FrameOutput]:
        """Outputs of predicted objects; their memories wait until they are read."""
        if not found.sightings:
            return []
        prediction = found.prediction
        if self.config.one_piece:
            low_res = keep_largest_piece(prediction.low_res)
            prediction = replace(prediction, low_res=low_res)
        low_res = fill_holes(prediction.low_res, self.config.fill_hole_area)
        if found.windows is not None:
            low_res = found.windows.paste(low_res, OUT_OF_VIEW_LOGIT)
        shown = self._rows(low_res)
        # memories are made of masks before holes are filled, as upstream does
        is_same = low_res is prediction.low_res
        seen = shown if is_same else self._rows(prediction.low_res)
        embedding = view.features.embedding
        pointers, scores, ious = (
            [row.clone() for row in part.split(1)]
            for part in (
                prediction.pointer,
                prediction.object_score,
                prediction.iou_score,
            )
        )
        return [
            FrameOutput(
                low_res=shown[row],
                pointer=pointers[row],
                object_score=scores[row],
                iou_score=ious[row],
                sighting=sighting,
                glimpse=Glimpse(embedding, seen[row]),
            )
            for row, sighting in enumerate(found.sightings)
        ]

    def encode(self, outputs: Sequence[FrameOutput]) -> list[FrameOutput]:
        """Give N outputs of one frame, glimpsed in windows of one side, a memory."""
        glimpses = [output.glimpse for output in outputs if output.glimpse is not None]
        embedding, device = glimpses[0].embedding, self.model.device
        height, width = embedding.shape[-2:]
        windows = [window_of(output) for output in outputs]
        memory = self.model.encode_memory(
            embedding,
            torch.cat([glimpse.low_res for glimpse in glimpses]).to(device),
            torch.cat([output.object_score for output in outputs]),
            binarize=False,
            windows=to_windows(windows, (height, width), device),
        )
        rows = self._rows(memory, self.session.memory_dtype)
        return [
            replace(output, memory=row, glimpse=None)
            for output, row in zip(outputs, rows, strict=True)
        ]

    def remember(
        self, embedding: Tensor, results: Sequence[PendingOutput]
    ) -> list[FrameOutput]:
        """Outputs of N new prompts on one frame, with their memories."""
        low_res = torch.cat([result.low_res for result in results])
        memory = self.model.encode_memory(
            embedding,
            low_res.to(self.model.device),
            torch.cat([result.output.object_score for result in results]),
            binarize=self.config.binarize_mask_from_pts_for_mem_enc,
        )
        rows = self._rows(memory, self.session.memory_dtype)
        sightings = self._sightings(low_res, [None] * len(results))
        return [
            self._cropped(replace(result.output, memory=row), sighting)
            for result, row, sighting in zip(results, rows, sightings, strict=True)
        ]

    def _cropped(self, output: FrameOutput, sighting: Sighting | None) -> FrameOutput:
        """Leave of a memory what lies around the object, if tracking is local."""
        if sighting is None or sighting.box is None or output.memory is None:
            return replace(output, sighting=sighting)
        height, width = output.memory.shape[-2:]
        window = window_around(sighting.box, (height, width))
        windows = to_windows([window], (height, width), output.memory.device)
        memory = output.memory if windows is None else windows.crop(output.memory)
        return replace(output, memory=memory, sighting=replace(sighting, window=window))

    def _sightings(
        self, low_res: Tensor, asked: Sequence[Window | None]
    ) -> tuple[Sighting | None, ...]:
        """Where N objects are, from the logits of the windows that were asked for."""
        if self.config.tracking == "exact":
            return (None,) * len(asked)
        boxes = positive_boxes(low_res[:, 0].float()).tolist()
        return tuple(
            Sighting(window, _to_cells(box, window))
            for box, window in zip(boxes, asked, strict=True)
        )

    def _rows(self, batch: Tensor, dtype: torch.dtype | None = None) -> list[Tensor]:
        """N rows where a session is kept, each in memory that goes when it goes."""
        stored = batch.to(self.session.storage_device, dtype)
        return [row.clone() for row in stored.split(1)]


def _to_cells(box: Sequence[int], window: Window | None) -> CellBox | None:
    """Cells of the grid under a box of low-resolution pixels of a window."""
    top, left, bottom, right = box
    if top >= bottom:
        return None
    row, column = (0, 0) if window is None else (window.top, window.left)
    return CellBox(
        row + top // LOW_RES_PER_CELL,
        column + left // LOW_RES_PER_CELL,
        row - (-bottom // LOW_RES_PER_CELL),
        column - (-right // LOW_RES_PER_CELL),
    )
