"""Quick scores of a model on whole images, all objects of an image at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.evaluation.clicks import box_of, interior_point, largest_error
from napari_hqsam2.evaluation.measures import Scores
from napari_hqsam2.modeling.outputs import ModelPrompts
from napari_hqsam2.training.augment import to_rgb
from napari_hqsam2.training.crops import objects_of, resize_images
from napari_hqsam2.training.decoding import CLAMP
from napari_hqsam2.training.developing import normalise

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from napari_hqsam2._types import AnyArray, BoolArray
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures
    from napari_hqsam2.training.sources import Frame

MIN_OBJECT_AREA = 40


@dataclass(frozen=True)
class Protocol:
    """What is measured."""

    objects: int = 12
    """Most objects per image, spread over the label values."""
    clicks: int = 3
    hq: HqMode = "add"


def pick_objects(frame: Frame, count: int) -> list[BoolArray]:
    """At most `count` objects of a frame, evenly spread over its label values."""
    masks = objects_of(frame.labels, split=True, min_area=MIN_OBJECT_AREA)
    if len(masks) <= count:
        return masks
    return [masks[i] for i in np.linspace(0, len(masks) - 1, count).astype(int)]


def encode(model: HqSam2, image: AnyArray) -> ImageFeatures:
    """Encode one (H, W[, 3]) uint8 image, squashed to the model's square input."""
    resized = resize_images(to_rgb(image)[None], model.image_size)
    return model.encode_image(normalise(resized).to(model.device))


@dataclass
class Annotator:
    """Prompts N objects of one encoded image, and keeps what was said so far."""

    model: HqSam2
    features: ImageFeatures
    truths: BoolArray
    """(N, H, W)."""
    hq: HqMode
    coords: Tensor = field(default_factory=lambda: torch.zeros(0))
    labels: Tensor = field(default_factory=lambda: torch.zeros(0))
    low_res: Tensor | None = None

    def norm(self, points: Sequence[Sequence[int]]) -> Tensor:
        """(N, 1, 2) points (x, y), 0 to 1, from (row, column) pixels."""
        height, width = self.truths.shape[1:]
        rows_columns = torch.tensor(points, dtype=torch.float32) + 0.5
        return (rows_columns.flip(1) / torch.tensor([width, height]))[:, None]

    def say(self, coords: Tensor, labels: Tensor) -> None:
        """Add points to what was said."""
        self.coords = (
            torch.cat((self.coords, coords), 1) if len(self.coords) else coords
        )
        self.labels = (
            torch.cat((self.labels, labels), 1) if len(self.labels) else labels
        )

    def masks(self, *, multimask: bool) -> BoolArray:
        """(N, H, W) masks for all that was said; the logits are fed back next time."""
        device = self.model.device
        prompts = ModelPrompts(
            self.coords.to(device), self.labels.int().to(device), self.low_res
        )
        predicted = self.model.predict_masks(
            self.model.without_memory(self.features.embedding),
            self.features.high_res,
            prompts,
            multimask=multimask,
            hq=self.hq,
        )
        row = torch.arange(len(self.coords), device=device)
        best = predicted.iou_scores.argmax(1).clamp(max=predicted.masks.shape[1] - 1)
        chosen = predicted.masks[row, best][:, None].float()
        self.low_res = chosen.clamp(-CLAMP, CLAMP)
        size = self.truths.shape[1:]
        full = F.interpolate(chosen, size=size, mode="bilinear")[:, 0] > 0
        result: BoolArray = full.cpu().numpy()
        return result


def _add(scores: Scores, name: str, guesses: BoolArray, truths: BoolArray) -> None:
    for guess, truth in zip(guesses, truths, strict=True):
        scores.add(name, guess, truth)


def _clicks(annotator: Annotator, scores: Scores, count: int) -> None:
    truths = annotator.truths
    ones = torch.ones(len(truths), 1)
    annotator.say(annotator.norm([interior_point(t) for t in truths]), ones)
    guesses = annotator.masks(multimask=True)
    _add(scores, "click_1", guesses, truths)
    for number in range(2, count + 1):
        errors = [largest_error(g, t) for g, t in zip(guesses, truths, strict=True)]
        labels = torch.tensor([[float(positive)] for _, _, positive in errors])
        annotator.say(annotator.norm([(r, c) for r, c, _ in errors]), labels)
        guesses = annotator.masks(multimask=False)
        _add(scores, f"click_{number}", guesses, truths)


def _boxes(annotator: Annotator, scores: Scores) -> None:
    truths = annotator.truths
    boxes = [box_of(truth) for truth in truths]
    low, high = ([box[1::-1] for box in boxes], [box[:1:-1] for box in boxes])
    corners = torch.cat((annotator.norm(low), annotator.norm(high)), 1)
    annotator.say(corners, torch.tensor([[2.0, 3.0]]).repeat(len(truths), 1))
    _add(scores, "box", annotator.masks(multimask=False), truths)


@torch.inference_mode()
def evaluate_images(
    model: HqSam2, frames: Sequence[Frame], protocol: Protocol | None = None
) -> Scores:
    """Score clicks with corrections, and boxes, over the objects of some images.

    Parameters
    ----------
    model : HqSam2
        In eval mode.
    frames : sequence of Frame
        Images with labels.
    protocol : Protocol, optional
        What is measured.
    """
    protocol = protocol or Protocol()
    scores = Scores()
    for frame in frames:
        masks = pick_objects(frame, protocol.objects)
        if not masks:
            continue
        features, truths = encode(model, frame.image), np.stack(masks)
        if protocol.clicks:
            annotator = Annotator(model, features, truths, protocol.hq)
            _clicks(annotator, scores, protocol.clicks)
        _boxes(Annotator(model, features, truths, protocol.hq), scores)
    return scores
