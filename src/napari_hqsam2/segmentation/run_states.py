"""Where a run stands between two frames, and the same as plain values and tensors."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from napari_hqsam2.predictors.local_windows import CellBox, Sighting, Window
from napari_hqsam2.predictors.memory_bank import FrameOutput
from napari_hqsam2.segmentation.composition import CroppedObjects, ObjectScores
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.frame_objects import KeptObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from napari_hqsam2.segmentation.masks import FrameResult
    from napari_hqsam2.segmentation.windows import PixelBox

Plain: TypeAlias = dict[str, Any]
"""Numbers, strings, tensors, None, and lists and dictionaries of them."""


class Followed(NamedTuple):
    """What one object takes to the next frame, apart from its prompts."""

    tracked: dict[int, FrameOutput]
    """Outputs of frames that were tracked, each with its memory."""
    crop: Crop | None = None
    """Window in which it is looked for next; None on whole frames."""
    box: PixelBox | None = None
    """Where it was seen last, if it is looked for in windows."""
    is_paused: bool = False
    """Whether it waits for its next prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class RunState:
    """Where a run stands after a frame; with prompts and stack all that it needs."""

    group: int
    """Which group of prompts is followed."""
    is_reverse: bool
    """Whether in the backward pass."""
    frame: int
    """Frame that was finished last, along the axis of the run."""
    objects: Mapping[int, Followed] = field(repr=False)
    """All objects of the pass, by id."""
    kept: Mapping[int, KeptObjects] = field(repr=False)
    """Results of the forward pass that the backward pass completes, by frame."""

    def to_plain(self) -> Plain:
        """Values that any format can hold which knows tensors."""
        return {
            "group": self.group,
            "is_reverse": self.is_reverse,
            "frame": self.frame,
            "objects": {
                obj_id: {
                    "tracked": {
                        frame: _plain_output(output)
                        for frame, output in self._without_old_masks(followed)
                    },
                    "crop": followed.crop and list(followed.crop),
                    "box": followed.box and list(followed.box),
                    "is_paused": followed.is_paused,
                }
                for obj_id, followed in self.objects.items()
            },
            "kept": {frame: _plain_kept(kept) for frame, kept in self.kept.items()},
        }

    def _without_old_masks(
        self, followed: Followed
    ) -> Iterator[tuple[int, FrameOutput]]:
        """Outputs of which the last one alone has logits, which are to be moved."""
        last = (min if self.is_reverse else max)(followed.tracked, default=None)
        for frame, output in followed.tracked.items():
            yield frame, output if frame == last else replace(output, low_res=None)

    @classmethod
    def from_plain(cls, plain: Plain, device: torch.device) -> RunState:
        """Build what `to_plain` gave; tensors that are computed with go to `device`."""
        return cls(
            group=plain["group"],
            is_reverse=plain["is_reverse"],
            frame=plain["frame"],
            objects={
                obj_id: Followed(
                    {
                        frame: _output(output, device)
                        for frame, output in followed["tracked"].items()
                    },
                    followed["crop"] and Crop(*followed["crop"]),
                    followed["box"] and tuple(followed["box"]),
                    followed["is_paused"],
                )
                for obj_id, followed in plain["objects"].items()
            },
            kept={frame: _kept(kept) for frame, kept in plain["kept"].items()},
        )


@dataclass(frozen=True, slots=True, eq=False)
class RunStep:
    """One frame of a run."""

    result: FrameResult
    state: Callable[[], RunState] = field(repr=False)
    """Says where the run stands; may be asked until the next step is taken."""


def _plain_output(output: FrameOutput) -> Plain:
    """An output whose memory is encoded."""
    sighting = output.sighting
    return {
        "low_res": output.low_res,
        "memory": output.memory,
        "pointer": output.pointer,
        "object_score": output.object_score,
        "iou_score": output.iou_score,
        "sighting": sighting
        and [
            sighting.window and list(astuple(sighting.window)),
            sighting.box and list(astuple(sighting.box)),
        ],
    }


def _output(plain: Plain, device: torch.device) -> FrameOutput:
    low_res, memory = plain.get("low_res"), plain["memory"]
    sighting = plain["sighting"]
    if sighting is not None:
        window, box = sighting
        sighting = Sighting(window and Window(*window), box and CellBox(*box))
    return FrameOutput(
        low_res=None if low_res is None else low_res.to(device),
        pointer=plain["pointer"].to(device),
        object_score=plain["object_score"].to(device),
        iou_score=plain["iou_score"].to(device),
        memory=None if memory is None else memory.to(device),
        sighting=sighting,
    )


def _plain_kept(kept: KeptObjects) -> list[Plain]:
    return [
        {
            "scores": [list(astuple(scores)) for scores in objects.scores],
            "grid": list(objects.grid),
            "boxes": objects.boxes,
            "logits": objects.logits,
            "crop": list(crop),
        }
        for objects, crop in kept.parts
    ]


def _kept(plain: list[Plain]) -> KeptObjects:
    return KeptObjects(
        tuple(
            (
                CroppedObjects(
                    tuple(ObjectScores(*scores) for scores in part["scores"]),
                    (part["grid"][0], part["grid"][1]),
                    part["boxes"],
                    part["logits"],
                ),
                Crop(*part["crop"]),
            )
            for part in plain
        )
    )
