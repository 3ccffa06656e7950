"""Frames of which only a window is read, and the features that are kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.predictors.feature_cache import FeatureCache
from napari_hqsam2.predictors.frame_source import read_part, read_seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from napari_hqsam2._types import HW, AnyArray
    from napari_hqsam2.modeling.outputs import ImageFeatures
    from napari_hqsam2.predictors.frame_source import FrameSource
    from napari_hqsam2.segmentation.crops import Crop


@dataclass(frozen=True, slots=True)
class WindowFrames:
    """A source seen through one window; a FrameSource."""

    source: FrameSource
    crop: Crop

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    @property
    def hw(self) -> HW:
        """Height and width of the window in pixels."""
        return self.crop.height, self.crop.width

    def read(self, index: int) -> AnyArray:
        """Read the window of a frame."""
        return read_part(self.source, index, self.crop.window)

    def read_seen(
        self, index: int, window: tuple[slice, slice] | None, side: int
    ) -> AnyArray:
        """Read what is shown of the window of a frame, or of a part of it."""
        if window is None:
            return read_seen(self.source, index, self.crop.window, side)
        inside = (
            slice(corner + part.start, corner + part.stop)
            for part, corner in zip(window, self.crop[:2], strict=True)
        )
        return read_seen(self.source, index, (next(inside), next(inside)), side)


class SharedFeatures(FeatureCache):
    """Features of some frames, as they are seen in one window, in a cache for all.

    Parameters
    ----------
    shared
        Features of any frames and windows of one stack.
    numbers
        Number of each frame in the whole stack.
    crop
        The window; None is the whole frame.
    """

    def __init__(
        self, shared: FeatureCache, numbers: Sequence[int], crop: Crop | None = None
    ) -> None:
        super().__init__(shared.budget)
        self._shared = shared
        self._numbers = numbers
        self._crop = crop

    @property
    def is_on_host(self) -> bool:
        """Whether features are held in the memory of the host."""
        return self._shared.is_on_host

    def make_room(self, device: torch.device) -> bool:
        """Take no memory of a device from now on, for whatever part of the stack."""
        return self._shared.make_room(device)

    @property
    def nbytes(self) -> int:
        """Bytes held now, for all frames."""
        return self._shared.nbytes

    def __len__(self) -> int:
        """Return the number of features held, other frames and windows included."""
        return len(self._shared)

    def __contains__(self, frame: int) -> bool:
        """Whether a frame's features are held."""
        return self._key(frame) in self._shared

    def get(self, frame: int) -> ImageFeatures | None:
        """Features of a frame if they are held."""
        return self._shared.get(self._key(frame))

    def put(self, frame: int, features: ImageFeatures) -> None:
        """Hold the features of a frame."""
        self._shared.put(self._key(frame), features)

    def clear(self) -> None:
        """Drop everything, for all frames."""
        self._shared.clear()

    def _key(self, frame: int) -> int:
        """A number of its own for each frame and window."""
        number = self._numbers[frame]
        if self._crop is None:
            return number
        for value in self._crop:
            number = number << KEY_BITS | value
        return -1 - number


KEY_BITS = 24
"""Enough for any number of pixels along a side."""
