"""State of one video: objects, their prompts and memories. No network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from napari_hqsam2.predictors.memory_bank import FrameOutput, MemoryBank

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from napari_hqsam2._types import HW
    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.feature_cache import FeatureCache
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.predictors.intensity import IntensityLimits

NOT_TRACKED, FORWARD, REVERSE = 0, 1, -1


@dataclass(frozen=True)
class Clicks:
    """Points of one object on one frame, box corners first."""

    coords_norm: Tensor
    """(1, P, 2) points (x, y), 0 to 1 over the model's input."""
    labels: Tensor
    """(1, P) labels as in `ModelPrompts`."""


@dataclass(frozen=True)
class PendingOutput:
    """A result of new prompts that joins the memory when propagation starts."""

    output: FrameOutput
    is_conditioning: bool

    @property
    def low_res(self) -> Tensor:
        """(1, 1, 4h, 4w) logits, which a pending result always has."""
        if self.output.low_res is None:
            msg = "The logits of a pending result were dropped."
            raise RuntimeError(msg)
        return self.output.low_res


@dataclass
class ObjectState:
    """Everything known of one object."""

    directions: np.ndarray[tuple[int], np.dtype[np.int8]]
    """(T,) int8: how each frame was tracked last."""
    clicks: dict[int, Clicks] = field(default_factory=dict)
    """Points and boxes by frame."""
    masked: set[int] = field(default_factory=set)
    """Frames with a mask prompt, which is the result itself."""
    pending: dict[int, PendingOutput] = field(default_factory=dict)
    """Results of prompts since the last propagation, by frame."""
    bank: MemoryBank = field(default_factory=MemoryBank)
    """What tracking reads."""
    prompted_before: Tensor | None = None
    """(1, 1, 4h, 4w) logits that prompts gave on the frame before, where those were
    asked for in another window."""
    is_paused: bool = False
    """Whether the model gave no numbers; it is followed again from its next prompt."""

    def seen(self, frame: int) -> Tensor | None:
        """(1, 1, 4h, 4w) logits of a frame that was just tracked or prompted."""
        if self.prompted_before is not None:
            return self.prompted_before
        return self.bank.previous_logits(frame)

    @property
    def prompted_frames(self) -> set[int]:
        """Frames with a prompt."""
        return self.clicks.keys() | self.masked

    def low_res(self, frame: int) -> Tensor | None:
        """(1, 1, 4h, 4w) logits of the newest result of a frame, or None."""
        pending = self.pending.get(frame)
        return pending.low_res if pending else self.bank.previous_logits(frame)


@dataclass
class VideoSession:
    """One video under work; made by `SAM2VideoPredictor.init_state`."""

    frames: FrameSource
    """Where frames are read, one at a time."""
    image_size: int
    """S, side in pixels of the input of the model that works on it."""
    contrast_limits: IntensityLimits
    """Intensities shown as black and white, the same for all frames."""
    hq: HqMode
    """Use of the high-quality mask; may be changed between calls."""
    storage_device: torch.device
    """Where memories live."""
    memory_dtype: torch.dtype
    """Type that memory features are stored in."""
    features: FeatureCache
    """Image features of recent frames."""
    moves_masks: bool = False
    """Whether it is to be seen how the image moves."""
    objects: dict[int, ObjectState] = field(default_factory=dict)
    """State by object id, in the order in which objects were added."""

    @property
    def num_frames(self) -> int:
        """T, the number of frames."""
        return len(self.frames)

    @property
    def hw(self) -> HW:
        """Height and width of the frames in pixels."""
        return self.frames.hw

    @property
    def obj_ids(self) -> list[int]:
        """Ids of all objects, in the order in which they were added."""
        return list(self.objects)

    def check_frame(self, frame: int) -> None:
        """Raise IndexError if the video has no such frame."""
        if not 0 <= frame < self.num_frames:
            msg = (
                f"Frame {frame} does not exist; the stack has frames 0 to "
                f"{self.num_frames - 1}."
            )
            raise IndexError(msg)

    def check_image_size(self, image_size: int) -> None:
        """Raise ValueError if a model sees frames at another size."""
        if image_size != self.image_size:
            msg = (
                f"This session was made by a predictor that sees frames at "
                f"{self.image_size} px; this one sees them at {image_size} px. Go on "
                "with the former, or make a new session with init_state."
            )
            raise ValueError(msg)

    def add_object(self, obj_id: int) -> ObjectState:
        """State of an object, new if the id is not known."""
        if obj_id not in self.objects:
            directions = np.zeros(self.num_frames, dtype=np.int8)
            self.objects[obj_id] = ObjectState(directions)
        return self.objects[obj_id]

    def require_object(self, obj_id: int) -> ObjectState:
        """State of a known object; KeyError otherwise."""
        if obj_id not in self.objects:
            msg = f"There is no object {obj_id}; the objects are {self.obj_ids}."
            raise KeyError(msg)
        return self.objects[obj_id]
