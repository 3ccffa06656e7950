"""From pixels of any dtype to what the model sees: RGB between 0 and 1."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from napari_hqsam2._types import Limits
from napari_hqsam2.errors import FrameTimeoutError, StackError
from napari_hqsam2.predictors.frame_checks import real_dtype
from napari_hqsam2.predictors.frame_source import read_seen

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_hqsam2._types import AnyArray
    from napari_hqsam2.predictors.frame_source import FrameSource

logger = logging.getLogger(__name__)

Ramp: TypeAlias = tuple[float, float, float]
"""(low, high, gamma): what lies between the two is raised to the power of gamma."""
IntensityLimits: TypeAlias = Limits | Ramp | tuple[Limits | Ramp, ...]
"""(low, high) for all channels, or one pair each; low is shown as 0, high as 1. A third
number is the gamma."""

FULL_RANGES: dict[str, Limits] = {"uint8": (0.0, 255.0), "bool": (0.0, 1.0)}
"""Types whose whole range is shown when no limits are given."""
PERCENTILES = (0.1, 99.9)
SAMPLED_FRAMES = 8
SAMPLED_PIXELS = 2**19
"""At most about so many pixels of a frame enter the percentiles."""
ENOUGH_TO_ESTIMATE = 512
"""Side in pixels of a picture of a frame from which limits are estimated."""
EXACT_IN_FLOAT32 = 2.0**24


def to_unit_rgb(
    frame: AnyArray, limits: IntensityLimits | None = None
) -> npt.NDArray[np.float32]:
    """Scale one frame to RGB between 0 and 1.

    Parameters
    ----------
    frame : numpy.ndarray
        (H, W), or (H, W, C) with C one (grey), two (the third is black), three (RGB) or
        four (RGBA, opacity is dropped). Boolean, integer or real floating.
    limits : pair of float or one pair per channel, optional
        Values that become 0 and 1; what lies outside is clipped, and what lies between
        is raised to the power of a third number if there is one. None takes the full
        range of uint8 and bool, and is an error for other types.

    Returns
    -------
    numpy.ndarray
        float32, (H, W, 3), finite. NaN becomes 0, infinities become 0 and 1, and where
        low equals high everything is 0.

    Raises
    ------
    StackError
        If shape, dtype or limits make no sense.

    Examples
    --------
    >>> to_unit_rgb(np.array([[100, 300]], np.uint16), (100, 300)).tolist()
    [[[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]]
    """
    real_dtype(frame.dtype, "The frame")
    if frame.ndim not in (2, 3) or (frame.ndim == 3 and not 1 <= frame.shape[2] <= 4):
        msg = (
            f"A frame has shape (H, W) or (H, W, C) with one to four channels, got "
            f"{frame.shape}."
        )
        raise StackError(msg)
    values = frame[..., np.newaxis] if frame.ndim == 2 else frame[..., :3]
    channels = values.shape[2]
    pairs = _limit_pairs(limits, channels, frame.dtype)
    unit = np.zeros((*values.shape[:2], 3), np.float32)
    if len(pairs) == 1:
        unit[..., :channels] = _scaled(values, *pairs[0])
    else:
        for channel, ramp in enumerate(pairs):
            unit[..., channel] = _scaled(values[..., channel], *ramp)
    if channels == 1:
        unit[..., 1:] = unit[..., :1]
    return unit


def shows_bytes(frame: AnyArray, limits: IntensityLimits) -> bool:
    """Whether `to_unit_rgb` only divides by 255: uint8, shown from 0 to 255."""
    channels = frame.shape[2] if frame.ndim == 3 else 1
    pairs = _limit_pairs(limits, min(channels, 3), frame.dtype)
    return frame.dtype == np.uint8 and set(pairs) == {(*FULL_RANGES["uint8"], 1.0)}


def with_gamma(limits: IntensityLimits, gamma: float) -> IntensityLimits:
    """Limits with the same gamma for all channels; 1 changes nothing.

    Raises
    ------
    StackError
        Gamma is not a finite number above 0.
    """
    check_gamma(gamma)
    if gamma == 1:
        return limits
    ramps = tuple((*ramp[:2], float(gamma)) for ramp in _listed(limits))
    return ramps[0] if len(ramps) == 1 else ramps


def check_gamma(gamma: float) -> None:
    """Refuse what is no gamma.

    Raises
    ------
    StackError
        It is not a finite number above 0.
    """
    if not 0 < gamma < math.inf:
        msg = (
            f"gamma={gamma!r} must be a number above 0: 1 shows intensities as they "
            "are, less than 1 lightens what is dark."
        )
        raise StackError(msg)


def _listed(limits: IntensityLimits) -> list[Any]:
    """Limits of each channel, or one for all."""
    is_one = all(np.ndim(item) == 0 for item in limits)
    return [limits] if is_one else list(limits)


def _limit_pairs(
    limits: IntensityLimits | None, channels: int, dtype: np.dtype[np.generic]
) -> tuple[Ramp, ...]:
    """Checked limits with gamma: of all channels, or of each."""
    if limits is None:
        if dtype.name not in FULL_RANGES:
            msg = (
                f"An image of dtype {dtype} needs intensity limits: pass the values to "
                "show as black and white, or take them from estimate_limits(source)."
            )
            raise StackError(msg)
        return ((*FULL_RANGES[dtype.name], 1.0),)
    listed = _listed(limits)
    if len(listed) not in (1, channels):
        msg = (
            f"Got {len(listed)} pairs of limits for {channels} channels; give one "
            "pair, or one per channel."
        )
        raise StackError(msg)
    return tuple(map(_checked_ramp, listed))


def _checked_ramp(pair: object) -> Ramp:
    try:
        low, high, *rest = (float(value) for value in pair)  # type: ignore[attr-defined]
        (gamma,) = rest or (1.0,)
    except (TypeError, ValueError) as error:
        msg = f"Intensity limits are a pair of numbers (low, high), got {pair!r}."
        raise StackError(msg) from error
    check_gamma(gamma)
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        msg = f"Intensity limits must be finite with low <= high, got ({low}, {high})."
        raise StackError(msg)
    return low, high, gamma


def _scaled(
    values: AnyArray, low: float, high: float, gamma: float
) -> npt.NDArray[np.floating]:
    """(values - low) / (high - low), clipped to [0, 1] and finite, to the gamma."""
    # Halves keep the span finite over the whole range of float64.
    half_span = high / 2 - low / 2
    if half_span <= 0:
        return np.zeros(values.shape, np.float32)
    is_small = (
        values.dtype.itemsize <= 2
        and max(-low, high) < EXACT_IN_FLOAT32
        and half_span > 1 / EXACT_IN_FLOAT32
    )
    with np.errstate(over="ignore", under="ignore"):
        work: npt.NDArray[np.floating] = values.astype(
            np.float32 if is_small else np.float64
        )
        if values.dtype.kind == "f":
            np.nan_to_num(work, copy=False, nan=low, posinf=high, neginf=low)
        np.clip(work, low, high, out=work)
        if is_small:
            work -= low
            work /= high - low
        else:
            work *= 0.5
            work -= low / 2
            work /= half_span
    np.clip(work, 0, 1, out=work)
    return work if gamma == 1 else np.power(work, gamma, out=work)


def estimate_limits(
    source: FrameSource,
    *,
    sample: int = SAMPLED_FRAMES,
    per_channel: bool | None = None,
    by_type: bool = True,
) -> IntensityLimits:
    """Estimate intensity limits that serve all frames of a stack alike.

    Parameters
    ----------
    source : FrameSource
        The stack; a few evenly spaced frames of it are read.
    sample : int
        How many frames to read at most.
    per_channel : bool, optional
        Whether each channel gets limits of its own. None means yes for two channels, no
        for grey and RGB(A), whose colours would change otherwise; say True for three
        independent stains.
    by_type : bool
        Whether uint8 and bool get the full range of their type, whatever is there.

    Returns
    -------
    pair of float, or tuple of pairs
        The 0.1 and 99.9 percentiles; the full range of uint8 and bool. Where the
        percentiles coincide, as in a nearly black stack, the extremes are taken.

    Raises
    ------
    StackError
        If none of the frames can be read, or one did not come in time.
    """
    if sample < 1:
        msg = f"At least one frame must be sampled, got sample={sample}."
        raise StackError(msg)
    frames = _sampled_frames(source, sample, by_type=by_type)
    full_range = FULL_RANGES.get(frames[0].dtype.name)
    if full_range is not None and by_type:
        return full_range
    channels = 1 if frames[0].ndim == 2 else min(frames[0].shape[2], 3)
    if per_channel is None:
        per_channel = channels == 2
    planes = [
        frame.reshape(-1, frame.shape[2] if frame.ndim == 3 else 1) for frame in frames
    ]
    if channels == 1 or not per_channel:
        return _percentile_limits([plane[:, :channels] for plane in planes])
    return tuple(
        _percentile_limits([plane[:, channel] for plane in planes])
        for channel in range(channels)
    )


def _sampled_frames(
    source: FrameSource, sample: int, *, by_type: bool
) -> list[AnyArray]:
    """Evenly spaced frames, thinned out; a frame that cannot be read is left out."""
    count = len(source)
    spaced = np.linspace(0, count - 1, min(sample, count))
    indices = np.unique(spaced.round().astype(int))
    frames: list[AnyArray] = []
    failure: StackError | None = None
    for index in indices.tolist():
        try:
            frame = read_seen(source, index, None, ENOUGH_TO_ESTIMATE)
        except FrameTimeoutError:
            raise
        except StackError as error:
            failure = failure or error
            logger.warning("Left out of the intensity estimate: %s", error)
            continue
        if by_type and frame.dtype.name in FULL_RANGES:
            return [frame]
        step = math.ceil(math.sqrt(frame.shape[0] * frame.shape[1] / SAMPLED_PIXELS))
        frames.append(frame[::step, ::step].copy())
    if not frames and failure is not None:
        raise failure
    return frames


def narrowed(limits: Limits, others: Limits) -> Limits:
    """Limits that lie within others; the latter where nothing is between the two."""
    low, high = max(limits[0], others[0]), min(limits[1], others[1])
    return (low, high) if low < high else others


def _percentile_limits(parts: list[AnyArray]) -> Limits:
    with np.errstate(over="ignore"):
        values = np.concatenate(parts).astype(np.float64)
    finite = values[np.isfinite(values)]
    if finite.size < values.size:
        logger.warning("%d sampled pixels are not finite", values.size - finite.size)
    if not finite.size:
        return 0.0, 0.0
    low, high = (float(value) for value in np.percentile(finite, PERCENTILES))
    if low == high:
        low, high = float(finite.min()), float(finite.max())
    return low, high
