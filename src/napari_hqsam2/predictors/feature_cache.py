"""Image features of recently seen frames, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from napari_hqsam2.modeling.outputs import ImageFeatures

DEFAULT_BUDGET = 128 * 2**20
"""8 frames of the official models in float32, 40 of the built-in one."""
DEFAULT_FRAMES = 8


class FeatureCache:
    """Least recently used features go first when the budget is spent.

    Parameters
    ----------
    budget : int
        Bytes that may be held; the newest frame is always held.
    most : int, optional
        Frames that may be held, whatever they take; without it, any number.
    """

    def __init__(self, budget: int = DEFAULT_BUDGET, most: int | None = None) -> None:
        self.budget = budget
        self._most = most
        self._features: OrderedDict[int, ImageFeatures] = OrderedDict()
        self._nbytes = 0
        self._is_on_host = False

    @property
    def is_on_host(self) -> bool:
        """Whether features are held in the memory of the host, not of their device."""
        return self._is_on_host

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        return self._nbytes

    def __len__(self) -> int:
        """Return the number of frames held."""
        return len(self._features)

    def __contains__(self, frame: int) -> bool:
        """Whether a frame's features are held; does not mark them as used."""
        return frame in self._features

    def get(self, frame: int) -> ImageFeatures | None:
        """Features of a frame if they are held; marks them as used."""
        if frame in self._features:
            self._features.move_to_end(frame)
        return self._features.get(frame)

    def put(self, frame: int, features: ImageFeatures) -> None:
        """Hold the features of a frame, dropping the least recently used ones."""
        self._drop(self._features.pop(frame, None))
        if self._is_on_host:
            features = features.to("cpu")
        self._features[frame] = features
        self._nbytes += features.nbytes
        while len(self._features) > 1 and self._is_over():
            self._drop(self._features.popitem(last=False)[1])

    def make_room(self, device: torch.device) -> bool:
        """Take no memory of a device from now on; whether that can help.

        Features go to the memory of the host, and are held there. If that is short,
        they are dropped.
        """
        if device.type == "cpu":
            had_any = bool(self._features)
            self.clear()
            return had_any
        was_on_host, self._is_on_host = self._is_on_host, True
        for frame, features in self._features.items():
            self._features[frame] = features.to("cpu")
        return not was_on_host

    def clear(self) -> None:
        """Drop everything."""
        self._features.clear()
        self._nbytes = 0

    def _is_over(self) -> bool:
        is_crowded = self._most is not None and len(self._features) > self._most
        return is_crowded or self._nbytes > self.budget

    def _drop(self, features: ImageFeatures | None) -> None:
        self._nbytes -= 0 if features is None else features.nbytes
