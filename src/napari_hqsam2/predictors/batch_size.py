"""How many objects are worked on at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar, cast

import psutil
import torch

from napari_hqsam2.predictors.device_errors import check_works, is_no_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from torch import nn

    from napari_hqsam2.modeling.hqsam2 import HqSam2

Item = TypeVar("Item")
Result = TypeVar("Result")

logger = logging.getLogger(__name__)

LARGEST = {"cpu": 8, "cuda": 64}
"""Objects beyond which a batch gains nothing: a CPU's caches are full, an
accelerator is busy."""
LARGEST_ELSEWHERE = 16
SHARE = {"cpu": 0.25, "cuda": 0.5}
"""Part of the free memory that one batch may take."""
SHARE_ELSEWHERE = 0.25
PIXELS = 256
"""Pixels of the network's input for one cell of the grid."""


def free_bytes(device: torch.device) -> int:
    """Bytes that may still be allocated for a device."""
    check_works(device)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(free + idle)
    return int(psutil.virtual_memory().available)


def bytes_per_object(model: HqSam2, cells: int, tokens: int) -> int:
    """Bytes that one object takes at the peak of its work on a frame, roughly.

    Parameters
    ----------
    model : HqSam2
        Its widths count.
    cells : int
        Cells of the grid that are looked at.
    tokens : int
        Memory tokens that are read.
    """
    channels = model.no_mem_embed.shape[-1]
    memory_channels = model.memory_encoder.memory_channels
    attention_layer = model.memory_attention.layers[0]
    hidden = cast("nn.Linear", attention_layer.get_submodule("linear1")).out_features
    attention = tokens * 3 * (memory_channels + channels)
    attention += cells * (8 * channels + hidden)
    fine = 16 * cells * (channels // 8)
    decoder = 6 * cells * channels + (12 if model.has_hq else 6) * fine
    memory = cells * (6 * PIXELS + 8 * channels)
    return max(attention, decoder, memory) * model.no_mem_embed.element_size()


class BatchSizes:
    """Sizes of batches on a model's device, for one run.

    Parameters
    ----------
    model : HqSam2
        The network.
    largest : int, optional
        The user's limit; without it, what the kind of device gains from.
    """

    def __init__(self, model: HqSam2, largest: int | None = None) -> None:
        self._model = model
        kind = model.device.type
        self._share = SHARE.get(kind, SHARE_ELSEWHERE)
        self._largest = largest or LARGEST.get(kind, LARGEST_ELSEWHERE)

    def most(self, cells: int, tokens: int) -> int:
        """Objects in a batch that looks at `cells` and reads `tokens`; at least 1."""
        free = self._share * free_bytes(self._model.device)
        fitting = int(free // bytes_per_object(self._model, cells, tokens))
        return max(1, min(self._largest, fitting))

    def batches(
        self, items: Sequence[Item], cells: int, tokens: int
    ) -> Iterator[Sequence[Item]]:
        """Cut objects that look and read alike into batches, each when it is asked for.

        A single one is worked on whatever memory is free, so that nobody asks.
        """
        start = 0
        while start < len(items):
            is_last = start + 1 == len(items)
            size = 1 if is_last else self.most(cells, tokens)
            yield items[start : start + size]
            start += size

    def run(
        self, work: Callable[[Sequence[Item]], list[Result]], batch: Sequence[Item]
    ) -> list[Result]:
        """Work on a batch, in halves if there is no memory for all of it at once."""
        try:
            return work(batch)
        except (RuntimeError, MemoryError) as error:
            if len(batch) == 1 or not is_no_memory(error):
                raise
        # outside of the handler, which holds the tensors of the failed attempt
        self._halve(len(batch))
        middle = len(batch) // 2
        return [*self.run(work, batch[:middle]), *self.run(work, batch[middle:])]

    def _halve(self, failed: int) -> None:
        """Stay below a size for which there was no memory."""
        self._largest = max(1, failed // 2)
        logger.warning(
            "No memory for %d objects at once; going on with %d.", failed, self._largest
        )
        if self._model.device.type == "cuda":
            torch.cuda.empty_cache()
