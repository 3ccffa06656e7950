"""Memories of conditioning frames between runs, within a budget of bytes."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

from napari_hqsam2.segmentation.window_prompting import WindowOutput

if TYPE_CHECKING:
    from torch import Tensor

    from napari_hqsam2.predictors.memory_bank import FrameOutput

MemoryKey: TypeAlias = tuple[int, str, str]
"""Number of the frame, digest of its prompts or mask, use of the high-quality mask."""


Remembered = TypeVar("Remembered", "FrameOutput", "WindowOutput")


@dataclass
class ConditioningMemories(Generic[Remembered]):
    """Least recently used memories go first when the budget is spent."""

    budget: int
    """Bytes that may be held; the newest memory is always held."""
    _outputs: OrderedDict[MemoryKey, Remembered] = field(default_factory=OrderedDict)
    _nbytes: int = 0

    def get(self, key: MemoryKey) -> Remembered | None:
        """Memory if it is held; marks it as used."""
        if key in self._outputs:
            self._outputs.move_to_end(key)
        return self._outputs.get(key)

    def put(self, key: MemoryKey, output: Remembered) -> None:
        """Hold a memory."""
        self._drop(self._outputs.pop(key, None))
        self._outputs[key] = output
        self._nbytes += _output_bytes(output)
        while len(self._outputs) > 1 and self._nbytes > self.budget:
            self._drop(self._outputs.popitem(last=False)[1])

    def _drop(self, output: Remembered | None) -> None:
        self._nbytes -= 0 if output is None else _output_bytes(output)


def _output_bytes(result: FrameOutput | WindowOutput) -> int:
    output = result.output if isinstance(result, WindowOutput) else result
    tensors: tuple[Tensor | None, ...] = (output.low_res, output.pointer, output.memory)
    return sum(tensor.nbytes for tensor in tensors if tensor is not None)
