"""How much memory a run takes at its peak, measured while it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_STATUS = Path("/proc/self/statm")


class MemoryWatch:
    """Follows the memory of a device from now on.

    On an NVIDIA GPU that is what PyTorch holds there; on the processor it is the
    memory of this process, which only Linux tells without further packages.

    Parameters
    ----------
    device
        Where the model computes; None is nowhere.
    """

    def __init__(self, device: torch.device | None) -> None:
        self._device = device
        self._most = 0
        if device is not None and device.type == "cuda":
            import torch  # noqa: PLC0415 - stays out of the dock

            torch.cuda.reset_peak_memory_stats(device)
        self._before = self._now()

    def look(self) -> None:
        """Note what is in use; once a frame is enough."""
        self._most = max(self._most, self._now() or 0)

    @property
    def peak_bytes(self) -> int | None:
        """Most bytes above those at the start that were seen; None if unknown."""
        if self._before is None:
            return None
        return max(self._most - self._before, 0)

    def _now(self) -> int | None:
        device = self._device
        if device is None:
            return None
        if device.type == "cuda":
            import torch  # noqa: PLC0415 - stays out of the dock

            return int(torch.cuda.max_memory_allocated(device))
        if device.type != "cpu" or not sys.platform.startswith("linux"):
            return None
        pages = int(_STATUS.read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
