"""Batches one after the other, prepared ahead by other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch.utils.data import DataLoader

if TYPE_CHECKING:
    from collections.abc import Iterator


class Batches(Protocol):
    """Indexable batches."""

    @property
    def together(self) -> int:
        """Batches that share scenes, so that one process had better make them all."""

    def __getitem__(self, index: int) -> Any:
        """Batch number `index`, the same for every call."""


class Steps:
    """Iterate over batches number `start`, `start + 1`, ... without end.

    Parameters
    ----------
    batches : Batches
        Indexed by the step.
    start : int
        First step.
    workers : int
        Processes that prepare batches ahead; 0 prepares them in this one.
    pinned : bool
        Put them where a GPU can fetch them.
    """

    def __init__(
        self, batches: Batches, start: int, workers: int, *, pinned: bool
    ) -> None:
        self.loader: DataLoader[list[Any]] = DataLoader(
            batches,  # type: ignore[arg-type]
            batch_sampler=_Rounds(start, batches.together if workers else 1),
            collate_fn=list,
            num_workers=workers,
            pin_memory=pinned,
        )

    def __iter__(self) -> Iterator[Any]:
        """Yield batches for ever."""
        for batches in self.loader:
            yield from batches


class _Rounds(torch.utils.data.Sampler[list[int]]):
    """Numbers from `start` on, up to the next multiple of `length` at a time."""

    def __init__(self, start: int, length: int) -> None:
        self.start = start
        self.length = length

    def __iter__(self) -> Iterator[list[int]]:
        first = self.start
        while True:
            stop = (first // self.length + 1) * self.length
            yield list(range(first, stop))
            first = stop
