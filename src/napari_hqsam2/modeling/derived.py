"""Tables that are computed from parameters, kept while these stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from torch import Tensor

T = TypeVar("T")

CAPACITY = 4
"""Tables of so many sizes are kept."""


class _Source(NamedTuple):
    """A tensor as it was."""

    tensor: Tensor
    alias: Tensor
    """Holds the tensor's storage, so that no other one can take its place."""
    pointer: int
    version: int
    content: Tensor | None
    """A copy, for memory that is compared in no time."""

    @classmethod
    def of(cls, tensor: Tensor) -> _Source:
        content = tensor.detach().clone() if tensor.device.type == "cpu" else None
        version = tensor._version  # noqa: SLF001
        return cls(tensor, tensor.detach(), tensor.data_ptr(), version, content)


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

    def recall(self, sources: Sequence[Tensor], size: Hashable) -> T | None:
        """What an earlier `get` gave, unless one of its sources has changed since.

        For inference, not while something is compiled. A frame asks this some hundred
        times.
        """
        kept = self._kept.get(size)
        if kept is None:
            return None
        seen, table = kept
        for (tensor, _, pointer, version, content), now in zip(
            seen, sources, strict=True
        ):
            if (
                tensor is not now
                or pointer != now.data_ptr()
                or version != now._version  # noqa: SLF001
                # versions do not count what is written through ``.data``
                or (content is not None and not torch.equal(content, now))
            ):
                return None
        return table

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
        wants_gradients = torch.is_grad_enabled() and any(
            source.requires_grad for source in sources
        )
        # compilers cannot follow what comes after
        if wants_gradients or torch.compiler.is_compiling():
            return _in_full(compute, sources[0])
        kept = self.recall(sources, size)
        if kept is not None:
            return kept
        # inference tensors count no versions
        if any(source.is_inference() for source in sources):
            return _in_full(compute, sources[0])
        with torch.inference_mode(mode=False), torch.no_grad():
            seen = [_Source.of(source) for source in sources]
            table = _in_full(compute, sources[0])
        if sources[0].is_cuda and torch.cuda.is_initialized():
            torch.cuda.current_stream(sources[0].device).synchronize()
        others = [entry for entry in self._kept.items() if entry[0] != size]
        self._kept = dict([*others[1 - CAPACITY :], (size, (seen, table))])
        return table


def _in_full(compute: Callable[[], T], source: Tensor) -> T:
    with torch.autocast(source.device.type, enabled=False):
        return compute()
