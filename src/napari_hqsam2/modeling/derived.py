"""Tables that are computed from parameters, kept while these stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

T = TypeVar("T")

CAPACITY = 4
"""Tables of so many sizes are kept."""


@dataclass(frozen=True)
class _Source:
    """A tensor as it was."""

    alias: Tensor
    """Holds the tensor's storage, so that no other tensor can take its place."""
    version: int
    content: Tensor | None
    """A copy, for memory that is compared in no time."""

    @classmethod
    def of(cls, tensor: Tensor) -> _Source:
        content = tensor.detach().clone() if tensor.device.type == "cpu" else None
        return cls(tensor.detach(), tensor._version, content)  # noqa: SLF001

    def is_still(self, tensor: Tensor) -> bool:
        """Whether a tensor is the one that was seen, unchanged."""
        return (
            self.alias.data_ptr() == tensor.data_ptr()
            and self.version == tensor._version  # noqa: SLF001
            # versions do not count what is written through ``.data``
            and (self.content is None or torch.equal(self.content, tensor))
        )


class Derived(Generic[T]):
    """What was computed from tensors of a module, by size.

    It belongs to the module and goes with it; it is no part of its state, and copies of
    the module start without it. Where gradients are wanted nothing is kept.
    """

    def __init__(self) -> None:
        self._kept: dict[Hashable, tuple[list[_Source], T]] = {}

    def __reduce__(self) -> tuple[type[Derived[T]], tuple[()]]:
        """Copy and pickle as empty."""
        return Derived, ()

    def get(
        self, sources: Sequence[Tensor], size: Hashable, compute: Callable[[], T]
    ) -> T:
        """Return what `compute` gives, from an earlier call if nothing has changed.

        Parameters
        ----------
        sources : sequence of Tensor
            All tensors that `compute` reads.
        size : hashable
            All else that the result depends on.
        compute : callable
            Runs at the precision of the sources, whatever autocast is in force.

        Returns
        -------
        object
            Complete, whatever stream goes on with it; not to be written to.
        """
        if self._must_compute(sources):
            return _in_full(compute, sources[0])
        kept = self._kept.get(size)
        if kept is not None and _are_still(kept[0], sources):
            return kept[1]
        with torch.inference_mode(mode=False), torch.no_grad():
            seen = [_Source.of(source) for source in sources]
            table = _in_full(compute, sources[0])
        if sources[0].is_cuda and torch.cuda.is_initialized():
            torch.cuda.current_stream(sources[0].device).synchronize()
        others = [entry for entry in self._kept.items() if entry[0] != size]
        self._kept = dict([*others[1 - CAPACITY :], (size, (seen, table))])
        return table

    @staticmethod
    def _must_compute(sources: Sequence[Tensor]) -> bool:
        # compilers cannot follow what comes after
        if torch.compiler.is_compiling():
            return True
        wants_gradients = torch.is_grad_enabled() and any(
            source.requires_grad for source in sources
        )
        # inference tensors count no versions
        return wants_gradients or any(source.is_inference() for source in sources)


def _are_still(seen: list[_Source], sources: Sequence[Tensor]) -> bool:
    return all(old.is_still(tensor) for old, tensor in zip(seen, sources, strict=True))


def _in_full(compute: Callable[[], T], source: Tensor) -> T:
    with torch.autocast(source.device.type, enabled=False):
        return compute()
