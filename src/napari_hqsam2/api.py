"""What scripts, command line and plugin call: prompts and a stack in, labels out."""

from __future__ import annotations

from contextlib import ExitStack
from os import PathLike
from typing import TYPE_CHECKING, Any, TypeAlias, Unpack

import numpy as np

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.build import (
    build_sam2_video_predictor,
    model_name,
    resolve_device,
    with_settings,
)
from napari_hqsam2.configs.resolution import check_resolution
from napari_hqsam2.errors import ReadCancelledError, StackError
from napari_hqsam2.predictors.compilation import compile_model
from napari_hqsam2.predictors.feature_store import feature_store
from napari_hqsam2.predictors.slow_reads import reads_cancelled_by
from napari_hqsam2.segmentation.image import StillModel, segment_frame
from napari_hqsam2.segmentation.masks import (
    FrameResult,
    ObjectMask,
    check_label_dtype,
    new_labels,
    paint,
)
from napari_hqsam2.segmentation.options import (
    ImageOptions,
    ImageSettings,
    StackOptions,
    StackSettings,
)
from napari_hqsam2.segmentation.prompt_groups import check_prompts
from napari_hqsam2.segmentation.stack_plan import StackPlan, plan_stack
from napari_hqsam2.weights import download
from napari_hqsam2.weights.registry import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.predictors.tracking_config import TrackingMode
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.prompts import FramePrompts

__all__ = [
    "FrameResult",
    "ImageOptions",
    "ObjectMask",
    "StackOptions",
    "iter_stack",
    "load_model",
    "paint",
    "segment_image",
    "segment_stack",
]

Progress: TypeAlias = "Callable[[int, int], None]"
"""Called with the frames done and the frames in all."""


def load_model(
    model: str = DEFAULT_MODEL,
    *,
    checkpoint: str | PathLike[str] | None = None,
    device: str | torch.device = "auto",
    progress: Callable[[int, int | None], None] | None = None,
    tracking: TrackingMode = "exact",
    resolution: int | None = None,
    compile: bool = False,  # noqa: A002 - as in torch
) -> SAM2VideoPredictor:
    """Build a model with its weights, ready to segment.

    Parameters
    ----------
    model
        Name as in ``napari-hqsam2 models``, or an upstream config path.
    checkpoint
        Weights file of this model; None takes the weights that come with the package
        or, for the official models, downloads them once.
    device
        "auto" takes CUDA, then MPS, then the CPU.
    progress
        Called with the bytes downloaded and the bytes in all, if known.
    tracking, resolution, compile
        As in `StackOptions`; they may also be given run by run.

    Returns
    -------
    SAM2VideoPredictor
        To be passed as `model` to the functions of this module; its `model` attribute
        is what `SAM2ImagePredictor` takes.

    Raises
    ------
    ValueError
        The name or the device is unknown, or the resolution impossible.
    CheckpointError
        The weights file does not fit; the message names the cause.
    DownloadError
        The weights could not be fetched; the message says how to get them by hand.
    CompileError
        Nothing may be compiled in this process, because it shows windows.
    """
    name, device = model_name(model), resolve_device(device)
    if resolution is not None:
        check_resolution(resolution)
    if checkpoint is None:
        checkpoint = download.ensure_checkpoint(name, progress=progress)
    predictor = build_sam2_video_predictor(
        name,
        checkpoint,
        device,
        tracking=tracking,
        resolution=resolution,
        compile=compile,
    )
    predictor.loader.store = feature_store(predictor.model, name)
    return predictor


def segment_image(
    image: Any,
    prompts: Iterable[FramePrompts],
    *,
    axes: str = "YX",
    **options: Unpack[ImageOptions],
) -> LabelArray:
    """Segment the prompted objects of one image.

    Parameters
    ----------
    image
        (H, W) array of any real dtype, or with channels if `axes` says so.
    prompts
        One `FramePrompts` per object, with ``position=()``. One click takes the best of
        three candidate masks; a box or more clicks take the single mask.
    axes
        "YX", or with colours "YXC" or "CYX".
    **options
        See `ImageOptions`.

    Returns
    -------
    ndarray
        (H, W) int32: 0 background, else object ids. Where objects meet, the larger mask
        logit wins.

    Raises
    ------
    StackError
        The image cannot be read with these axes.
    PromptError
        A prompt is missing, malformed or outside the image.
    """
    settings = ImageSettings(**options)
    array = image if hasattr(image, "shape") else np.asarray(image)
    image_axes = StackAxes(axes.upper(), tuple(array.shape))
    if image_axes.leading:
        msg = (
            f"axes={axes!r} is a stack ({image_axes.described}), not one image; use "
            "segment_stack, or index one frame of it."
        )
        raise StackError(msg)
    checked = check_prompts(prompts, image_axes)
    view = settings.image_view(array, image_axes.letters)
    predictor = predictor_for(settings)
    masks = segment_frame(
        StillModel(
            predictor.model,
            predictor.loader.encode,
            view.limits(),
            settings.hq_mode,
            one_piece=settings.one_piece,
        ),
        view.frames((0,), "T"),
        checked,
        settings.window_rule(image_axes.hw, predictor),
    )
    labels = new_labels(image_axes)
    check_label_dtype(labels.dtype, (prompt.obj_id for prompt in checked))
    paint(labels, masks)
    return labels


def segment_stack(
    stack: Any,
    prompts: Iterable[FramePrompts],
    *,
    out: Any = None,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    **options: Unpack[StackOptions],
) -> LabelArray:
    """Segment the prompted objects and follow them through a stack.

    Parameters
    ----------
    stack, prompts, progress, cancel
        As in `iter_stack`.
    out
        Labels to write into, frame by frame: a NumPy or Zarr integer array with the
        shape of the leading axes, then Y and X. Pixels of other labels are kept. None
        makes new int32 labels.
    **options
        See `StackOptions`.

    Returns
    -------
    ndarray
        `out`, or (leading axes..., H, W) int32 labels: 0 background, else object ids.
        After `cancel` they hold the frames that were finished.

    Raises
    ------
    StackError
        The stack cannot be read with these axes, or `out` does not fit it.
    PromptError
        A prompt is missing, malformed or outside the image or the frames.

    Examples
    --------
    >>> from napari_hqsam2 import FramePrompts, PointPrompt, segment_stack
    >>> nucleus = FramePrompts(position=(3,), obj_id=1, points=(PointPrompt(40, 52),))
    >>> labels = segment_stack(stack, [nucleus], axes="TYX")  # doctest: +SKIP
    """
    with ExitStack() as resources:
        settings = StackSettings(**options)
        plan = _plan(stack, prompts, settings, resources)
        labels = new_labels(plan.view.axes) if out is None else out
        _check_labels(labels, plan)
        for result in _results(plan, settings, progress, cancel):
            _paint_into(labels, result)
    return labels


def iter_stack(
    stack: Any,
    prompts: Iterable[FramePrompts],
    *,
    progress: Progress | None = None,
    cancel: Callable[[], bool] | None = None,
    **options: Unpack[StackOptions],
) -> Iterator[FrameResult]:
    """Segment the prompted objects and follow them through a stack, frame by frame.

    Everything is checked before this returns; frames are read and segmented as the
    results are taken. Closing the iterator ends the work.

    Parameters
    ----------
    stack
        NumPy, Dask or Zarr array, sequence of frames, `FrameSource`, or path (TIFF,
        Zarr, ``.npy``, folder of images, video). Frames are read one at a time.
    prompts
        One `FramePrompts` per object and prompted frame.
    progress
        Called after every frame with the frames done and the frames in all.
    cancel
        Asked before every frame; True ends the work.
    **options
        See `StackOptions`.

    Yields
    ------
    FrameResult
        In the order of processing: along `axis` from the earliest prompt on, then from
        the last of the objects' first prompts back; one run after the other where
        prompts lie at different places along other axes. Objects join at their own
        first prompt. With the built-in model, frames between two prompts of an object
        come twice, in any direction but "backward": after the pass back they are
        mixed from both, and that is their result.

    Raises
    ------
    StackError
        The stack cannot be read with these axes.
    PromptError
        A prompt is missing, malformed or outside the image or the frames.
    """
    with ExitStack() as resources:
        settings = StackSettings(**options)
        plan = _plan(stack, prompts, settings, resources)
        results = _results(plan, settings, progress, cancel)
        return _closing(results, resources.pop_all())


def _closing(
    results: Iterator[FrameResult], resources: ExitStack
) -> Iterator[FrameResult]:
    with resources:
        yield from results


def _plan(
    stack: Any,
    prompts: Iterable[FramePrompts],
    options: StackSettings,
    resources: ExitStack,
) -> StackPlan:
    axes = options.axes
    if isinstance(stack, str | PathLike):
        from napari_hqsam2.stack_files import open_stack  # noqa: PLC0415 - many formats

        file = resources.enter_context(open_stack(stack, axes))
        stack, axes = file.array, file.axes.letters
    return plan_stack(
        options.view(stack, axes),
        prompts,
        axis=options.axis,
        frames=options.frames,
        direction=options.direction,
    )


def _results(
    plan: StackPlan,
    options: StackSettings,
    progress: Progress | None,
    cancel: Callable[[], bool] | None,
) -> Iterator[FrameResult]:
    """Load the model now, and do the work as results are taken."""
    predictor = predictor_for(options, options.tracking)
    try:
        with reads_cancelled_by(cancel or _never):
            limits = plan.view.limits()
    except ReadCancelledError:
        return iter(())
    results = plan.results(
        predictor,
        limits,
        options.hq_mode,
        cancel or _never,
        options.window_rule(plan.view.axes.hw, predictor),
    )
    return _counted(
        (step.result for step in results), plan.num_steps(predictor), progress
    )


def _counted(
    results: Iterator[FrameResult], total: int, progress: Progress | None
) -> Iterator[FrameResult]:
    for done, result in enumerate(results, 1):
        yield result
        if progress is not None:
            progress(done, total)


def _never() -> bool:
    return False


def _paint_into(labels: Any, result: FrameResult) -> None:
    if isinstance(labels, np.ndarray):
        paint(labels[result.position], result.masks)
        return
    frame = np.array(labels[result.position])
    paint(frame, result.masks)
    labels[result.position] = frame


def _check_labels(labels: Any, plan: StackPlan) -> None:
    axes = plan.view.axes
    if tuple(labels.shape) != axes.labels_shape:
        msg = (
            f"out has shape {tuple(labels.shape)}; labels for a stack with "
            f"{axes.described} have shape {axes.labels_shape} ({axes.labels_letters})."
        )
        raise StackError(msg)
    check_label_dtype(labels.dtype, plan.obj_ids)


def predictor_for(
    settings: ImageSettings, tracking: TrackingMode | None = None
) -> SAM2VideoPredictor:
    """The model that was asked for, with the settings of this run."""
    model = settings.model
    if isinstance(model, str):
        checkpoint = settings.checkpoint
        model = load_model(model, checkpoint=checkpoint, device=settings.device)
    if settings.compile:
        compile_model(model.model)
    return with_settings(
        model,
        tracking=tracking,
        resolution=settings.resolution,
        one_piece=settings.one_piece or None,
    )
