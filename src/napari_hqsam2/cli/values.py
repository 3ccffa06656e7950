"""Values of options that are written as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from napari_hqsam2.configs.resolution import check_resolution
from napari_hqsam2.predictors.intensity import check_gamma

if TYPE_CHECKING:
    from napari_hqsam2._types import CropMode


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError as error:
        msg = f"{text!r} is not a list of numbers with commas between them."
        raise typer.BadParameter(msg, param_hint=option) from error


def integers(option: str, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between them."""
    numbers = _numbers(option, text)
    if any(number != int(number) for number in numbers):
        msg = f"{text!r} must be whole numbers."
        raise typer.BadParameter(msg, param_hint=option)
    return tuple(int(number) for number in numbers)


def pair(option: str, text: str | None) -> tuple[int, int] | None:
    """Two whole numbers with a comma between them."""
    if text is None:
        return None
    numbers = integers(option, text)
    if len(numbers) != 2:
        msg = f"{text!r} must be two numbers with a comma between them."
        raise typer.BadParameter(msg, param_hint=option)
    return numbers[0], numbers[1]


def limits(text: str) -> tuple[float, float]:
    """Contrast limits, low,high."""
    numbers = _numbers("--contrast", text)
    if len(numbers) != 2 or not numbers[0] <= numbers[1]:
        msg = f"{text!r} must be low,high with low not above high."
        raise typer.BadParameter(msg, param_hint="--contrast")
    return numbers[0], numbers[1]


def checked_gamma(gamma: float) -> float:
    """The same number, if it is a gamma."""
    try:
        check_gamma(gamma)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--gamma") from error
    return gamma


def checked_resolution(resolution: int | None) -> int | None:
    """The same number, if a model can work at it."""
    if resolution is not None:
        try:
            check_resolution(resolution)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--resolution") from error
    return resolution


def checked_crop(text: str) -> CropMode:
    """auto, off, or the side of windows in pixels."""
    from napari_hqsam2.segmentation.windows import check_crop  # noqa: PLC0415 - torch

    mode: CropMode = int(text) if text.isdecimal() else text  # type: ignore[assignment]
    try:
        check_crop(mode)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--crop") from error
    return mode
