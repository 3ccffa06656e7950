"""Everything on a frame at once: objects that nobody has pointed at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np

from napari_hqsam2.api import predictor_for
from napari_hqsam2.errors import ReadCancelledError, StackError
from napari_hqsam2.predictors.intensity import to_unit_rgb
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.slow_reads import reads_cancelled_by
from napari_hqsam2.predictors.transforms import to_model_image
from napari_hqsam2.prompts import FramePrompts
from napari_hqsam2.segmentation.composition import compose_masks
from napari_hqsam2.segmentation.crops import Crop, crops_of
from napari_hqsam2.segmentation.masks import ObjectMask, paint, tight_window
from napari_hqsam2.segmentation.options import ImageOptions, ImageSettings
from napari_hqsam2.segmentation.proposals import Chooser, ProposalSettings, Proposer
from napari_hqsam2.segmentation.windows import COARSE_INPUT, LEAST_SIDE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray, LabelArray
    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.predictors.intensity import IntensityLimits
    from napari_hqsam2.segmentation.stack_view import StackView

__all__ = ["ProposalSettings", "propose_objects", "segment_everything", "to_prompts"]

CROPPED_FROM = 1.5
"""An image of this many times the model's input is also looked at in crops."""
COARSE_CROP = 0.5
"""Side of crops as part of the input, for models that see small objects badly."""
MOST_OF_IMAGE = 0.6
"""Side of these crops as part of the image, at most."""
LEAST_POINTS = 4
"""Points along each side of a crop, at least."""


def propose_objects(
    stack: Any,
    *,
    axes: str | None = None,
    position: Sequence[int] = (),
    settings: ProposalSettings | None = None,
    crops: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    **options: Unpack[ImageOptions],
) -> tuple[ObjectMask, ...]:
    """Find all objects of one frame.

    Parameters
    ----------
    stack
        An image, or a stack of which one frame is looked at: array, sequence of frames
        or FrameSource. Contrast limits are those of the whole stack.
    axes
        Axis letters, such as "YX", "YXC" or "TZYX"; None as in `axes.resolve_axes`, and
        "YX" for two dimensions.
    position
        Index of the frame along every leading axis; () for an image.
    settings
        What is looked for, and what is kept.
    crops
        Whether the image is also looked at in crops, which finds small objects: of the
        size that the model sees, and of half of it or less for the built-in one. None
        does so for the built-in model, and for others where the image is larger than
        one and a half times that size.
    progress
        Called with the points of the grid that are done, and with all of them, those
        of crops too.
    cancel
        Asked before every batch of points; True returns what was found so far.
    **options
        See `ImageOptions`.

    Returns
    -------
    tuple of ObjectMask
        The most confident first, with ids from 1; `iou_score` is predicted IoU times
        stability. No pixel belongs to two of them.

    Raises
    ------
    StackError
        The stack cannot be read with these axes, or has no such frame.
    """
    image_settings = ImageSettings(**options)
    view, place = _view(stack, axes, position, image_settings)
    predictor = predictor_for(image_settings)
    cancel = cancel or _never
    axis = view.axes.leading[-1]
    try:
        with reads_cancelled_by(cancel):
            frame = view.frames(place, axis).read(place[-1])
            shown = view.limits()
    except ReadCancelledError:
        return ()
    proposer = Proposer(
        predictor.model,
        settings or ProposalSettings(),
        image_settings.hq_mode,
        cancel,
        _unheard,
    )
    look = Look(proposer, predictor.loader.encode, frame, shown)
    return _propose(look, crops, progress)


def segment_everything(
    image: Any,
    *,
    axes: str | None = None,
    position: Sequence[int] = (),
    settings: ProposalSettings | None = None,
    crops: bool | None = None,
    **options: Unpack[ImageOptions],
) -> LabelArray:
    """Label all objects of one frame.

    Arguments as of `propose_objects`.

    Returns
    -------
    ndarray
        (H, W) int32: 0 background, 1 the most confident object, and so on.
    """
    image_settings = ImageSettings(**options)
    view, _ = _view(image, axes, position, image_settings)
    found = propose_objects(
        image,
        axes=axes,
        position=position,
        settings=settings,
        crops=crops,
        **options,
    )
    labels = np.zeros(view.axes.hw, dtype=np.int32)
    paint(labels, found)
    return labels


def to_prompts(
    masks: Iterable[ObjectMask], hw: HW, position: Sequence[int] = ()
) -> list[FramePrompts]:
    """Make mask prompts of objects, to be followed by `segment_stack`.

    Parameters
    ----------
    masks
        Objects of one frame.
    hw
        Height and width of the frame in pixels.
    position
        Index of the frame along every leading axis of the stack.
    """
    prompts = []
    for item in masks:
        whole = np.zeros(hw, dtype=np.bool_)
        whole[item.window] = item.mask
        prompts.append(FramePrompts(tuple(position), item.obj_id, mask=whole))
    return prompts


def _never() -> bool:
    return False


def _unheard(_: int) -> None:
    """Nobody wants to know how much is done."""


@dataclass(slots=True)
class _Counter:
    """Adds up what is done, and tells it."""

    progress: Callable[[int, int], None]
    total: int
    done: int = 0

    def add(self, number: int) -> None:
        self.done += number
        self.progress(self.done, self.total)


def _view(
    stack: Any,
    axes: str | None,
    position: Sequence[int],
    settings: ImageSettings,
) -> tuple[StackView, tuple[int, ...]]:
    """The stack, and the place of the frame along its leading axes."""
    letters = axes.upper() if axes else None
    if letters is None and getattr(stack, "ndim", 0) == 2:
        letters = "YX"
    if letters is not None and not set(letters) - set("YXC"):
        view = settings.image_view(stack, letters)
        place: tuple[int, ...] = (0, *position)
    else:
        view = settings.view(stack, letters)
        place = tuple(position)
    shape = view.axes.leading_shape
    if len(place) != len(shape) or not all(
        0 <= index < length for index, length in zip(place, shape, strict=False)
    ):
        msg = (
            f"position={tuple(position)} is not a frame of a stack with "
            f"{view.axes.described}; give one index for each of its leading axes."
        )
        raise StackError(msg)
    return view, place


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """A frame that is looked at, whole or in crops."""

    proposer: Proposer
    encode: Callable[[Tensor], ImageFeatures]
    """As `FeatureLoader.encode`."""
    frame: AnyArray
    """(H, W) or (H, W, C)."""
    limits: IntensityLimits
    """Intensities that the model sees as black and white."""

    def at(self, crop: Crop, settings: ProposalSettings) -> list[ObjectMask]:
        """Objects of a crop, at their places on the frame."""
        proposer = replace(self.proposer, settings=settings)
        size, device = proposer.model.image_size, proposer.model.device
        pixels = to_unit_rgb(self.frame[crop.window], self.limits)
        with inference(device):
            image = to_model_image(pixels, size, device, "bilinear")
            features = self.encode(image)
        hw = (crop.height, crop.width)
        sides = crop.inner_sides((self.frame.shape[0], self.frame.shape[1]))
        objects = proposer.propose(features, hw, sides)
        return [
            replace(item, top=item.top + crop.top, left=item.left + crop.left)
            for item in compose_masks(objects, hw)
            if item.area >= max(settings.min_area, 1)
        ]


def _propose(
    look: Look,
    crops: bool | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[ObjectMask, ...]:
    proposer, hw = look.proposer, (look.frame.shape[0], look.frame.shape[1])
    parts = [Crop(0, 0, *hw)]
    side = _crop_side(hw, proposer.model.image_size)
    if crops is None:
        crops = side >= LEAST_SIDE and max(hw) > CROPPED_FROM * side
    if crops:
        parts += [part for part in crops_of(hw, side) if part not in parts]
    closely = _in_crops(proposer, side)
    each = [proposer.settings] + [closely] * (len(parts) - 1)
    if progress is not None:
        total = sum(settings.points_per_side**2 for settings in each)
        counted = replace(proposer, on_points=_Counter(progress, total).add)
        look = replace(look, proposer=counted)
    found: list[ObjectMask] = []
    for number, (part, settings) in enumerate(zip(parts, each, strict=True)):
        if number and proposer.cancel():
            break
        found += look.at(part, settings)
    return tuple(found) if len(parts) == 1 else _merged(found, hw, proposer.settings)


def _crop_side(hw: HW, input_size: int) -> int:
    """Side of crops in pixels."""
    if input_size > COARSE_INPUT:
        return input_size
    return round(min(COARSE_CROP * input_size, MOST_OF_IMAGE * max(hw)))


def _in_crops(proposer: Proposer, side: int) -> ProposalSettings:
    """Settings with a grid as close as on an image of the size of the input."""
    settings, input_size = proposer.settings, proposer.model.image_size
    points = round(settings.points_per_side * side / input_size)
    points = max(points, min(LEAST_POINTS, settings.points_per_side))
    return replace(settings, points_per_side=points)


def _merged(
    found: Sequence[ObjectMask], hw: HW, settings: ProposalSettings
) -> tuple[ObjectMask, ...]:
    """One set of objects from crops that overlap."""
    labels = np.zeros(hw, dtype=np.int32)
    chooser = Chooser(labels, settings.max_overlap)
    kept: list[ObjectMask] = []
    for item in sorted(found, key=lambda item: -item.iou_score):
        region = labels[item.window]
        if not chooser.takes(region, item.mask):
            continue
        own = region == len(chooser.areas) - 1
        rows, columns = tight_window(own)
        kept.append(
            replace(
                item,
                obj_id=len(kept) + 1,
                top=item.top + rows.start,
                left=item.left + columns.start,
                mask=own[rows, columns].copy(),
            )
        )
    return tuple(kept)
