"""How many operators a GPU would be given for one frame, and what they read and write.

``python -m tests.benchmarks.operators`` runs the verbs of the models on tensors without
data that say they are on a GPU, in bfloat16 as there, and counts what autograd hands
on. It needs no GPU, and says nothing about time: only how often one is sent to
work, which is what small operators cost, and how many functions the interpreter calls
meanwhile, which costs the host. Views are not counted as operators, attention is one.
sam2 follows one object at a time, so that its counts are multiplied.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, cast

import torch
import torch.nn.functional as F
from tests.benchmarks import models, reference
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from napari_hqsam2.modeling.memory_tokens import PointerMemory, SpatialMemory
from napari_hqsam2.modeling.outputs import ModelPrompts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from tests.benchmarks.models import Trunk

    Step = tuple[str, int, Callable[[], Any]]
    """What is done, how often for a frame, and how."""

SIZE = 1024
MEMORIES, POINTERS = 7, 16
"""What an object remembers after 16 frames."""
GPU = "cuda"
DTYPE = torch.bfloat16
UNCOUNTED = {"detach", "_unsafe_view", "_reshape_alias", "alias", "lift_fresh"}
ALLOCATING = {"empty", "new_empty", "empty_like", "empty_strided", "new_empty_strided"}


STAND_INS = (
    "torch/_subclasses",
    "torch/_library",
    "torch/_compile",
    "torch/_dynamo",
    "torch/utils/_stats",
    "weakref",
)
"""Files with what tensors without data do instead of computing."""


class Counting(TorchDispatchMode):
    """Counts operators that compute or copy, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: Counter[str] = Counter()
        self.bytes = 0
        self.calls = 0
        """Functions of Python and of C that the interpreter calls."""

    def add(self, name: str, *tensors: Tensor) -> None:
        """Count one operator that reads or writes these."""
        self.operators[name] += 1
        self.bytes += sum(x.numel() * x.element_size() for x in tensors)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operator, and count it unless it is a view."""
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.removeprefix("aten::")
        written = _tensors(result)
        if written and not func.is_view and name not in UNCOUNTED | ALLOCATING:
            self.add(name, *_tensors((args, kwargs)), *written)
        return result


class _Calls:
    """Counts calls of functions, but for those of tensors that have no data."""

    def __init__(self) -> None:
        self.number = 0
        self._depth = 0
        """Of calls below the first that stands in for what a GPU does."""

    def __enter__(self) -> Self:
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "return":
            self._depth = max(self._depth - 1, 0)
        elif event == "call" and (self._depth or _stands_in(frame)):
            self._depth += 1
        elif event in {"call", "c_call"} and not self._depth:
            self.number += 1


def _stands_in(frame: FrameType) -> bool:
    name = frame.f_code.co_filename
    return any(part in name for part in STAND_INS)


class _WholeAttention(TorchFunctionMode):
    """Attention as the one operator that it is on a GPU, with the casts before it."""

    def __init__(self, counting: Counting) -> None:
        super().__init__()
        self._counting = counting

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Replace attention; leave all else."""
        if func is not F.scaled_dot_product_attention:
            return func(*args, **(kwargs or {}))
        q, k, v = (x.to(DTYPE) for x in args[:3])
        batch, heads, length, _ = q.shape
        mixed = q.new_empty(batch, length, heads, v.shape[-1]).transpose(1, 2)
        self._counting.add("attention", q, k, v, mixed)
        return mixed


def _tensors(values: Any) -> list[Tensor]:
    return [x for x in tree_leaves(values) if isinstance(x, Tensor)]


@contextmanager
def _autocast(*, keep_casts: bool) -> Iterator[None]:
    """As `torch.autocast`, which wants a GPU to be there."""
    before = torch.is_autocast_cache_enabled()
    was_on = torch.is_autocast_enabled(GPU)
    torch.set_autocast_enabled(GPU, True)
    torch.set_autocast_dtype(GPU, DTYPE)
    torch.set_autocast_cache_enabled(keep_casts)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_cache_enabled(before)
        torch.set_autocast_enabled(GPU, was_on)


def count(step: Callable[[], Any], *, lasting: bool) -> tuple[Counting, Any]:
    """Operators of the second call of a step, and its result; under `FakeTensorMode`.

    Parameters
    ----------
    step : callable
        One verb of a model.
    lasting : bool
        Let autocast keep the parameters that it casts for all calls, as under one
        context for a whole video. Otherwise it keeps none.
    """
    counting = Counting()
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(_autocast(keep_casts=lasting))
        with _WholeAttention(Counting()):
            step()
        with counting, _WholeAttention(counting):
            result = step()
        with _Calls() as calls:
            step()
    counting.calls = calls.number
    return counting, result


def without_data(build: Callable[..., Any], trunk: Trunk) -> Any:
    """Put tensors that say they are on a GPU in the place of a model's parameters."""
    with unset_fake_temporarily():
        model: nn.Module = build(trunk, SIZE, torch.device("cpu"))
    for module in getattr(model, "model", model).modules():
        for name, value in module.named_parameters(recurse=False):
            fake = torch.empty(value.shape, device=GPU)
            setattr(module, name, nn.Parameter(fake, value.requires_grad))
        for name, value in module.named_buffers(recurse=False):
            setattr(module, name, torch.empty(value.shape, device=GPU))
    return model


def our_counts(trunk: Trunk, objects: int) -> dict[str, Counting]:
    """Ours, with all objects in one batch."""
    model = without_data(models.predictor, trunk).model
    counts = {}

    def step(name: str, call: Callable[[], Any]) -> Any:
        counts[name], result = count(call, lasting=False)
        return result

    image = torch.empty(1, 3, SIZE, SIZE, device=GPU)
    features = step("encode", lambda: model.encode_image(image))
    shared = step("look around", lambda: model.attend_frame(features.embedding))
    grid = features.embedding.shape[-2:]
    memory = torch.empty(objects, 64, *grid, device=GPU, dtype=DTYPE)
    pointer = torch.empty(objects, 256, device=GPU, dtype=DTYPE)
    distance = torch.empty(objects, device=GPU)
    memories = [SpatialMemory(slot, memory) for slot in range(MEMORIES)]
    pointers = [PointerMemory(distance, pointer)] * POINTERS
    fused = step("fuse", lambda: model.fuse_memory(shared, memories, pointers))
    found = step(
        "predict",
        lambda: model.predict_objects(
            fused, features.high_res, ModelPrompts(nowhere=objects), multimask=True
        ),
    )
    step(
        "remember",
        lambda: model.encode_memory(
            features.embedding, found.low_res, found.object_score, binarize=False
        ),
    )
    return counts


def reference_counts(trunk: Trunk) -> dict[str, Counting]:
    """sam2's for one object; its looking around is part of what it fuses."""
    model = without_data(reference.predictor, trunk)
    counts = {}

    def step(name: str, call: Callable[[], Any]) -> Any:
        # its examples have one autocast context around a whole video
        counts[name], result = count(call, lasting=True)
        return result

    image = torch.empty(1, 3, SIZE, SIZE, device=GPU)
    _, features, positions, sizes = step(
        "encode", lambda: model._prepare_backbone_features(model.forward_image(image))
    )
    remembered = {
        "maskmem_features": torch.empty(1, 64, *sizes[-1], device=GPU, dtype=DTYPE),
        "maskmem_pos_enc": [torch.empty(1, 64, *sizes[-1], device=GPU, dtype=DTYPE)],
        "obj_ptr": torch.empty(1, 256, device=GPU, dtype=DTYPE),
    }
    past = {
        "cond_frame_outputs": {0: remembered},
        "non_cond_frame_outputs": dict.fromkeys(range(1, POINTERS), remembered),
    }
    fused = step(
        "fuse",
        lambda: model._prepare_memory_conditioned_features(
            POINTERS, False, features[-1:], positions[-1:], sizes[-1:], past, 99
        ),
    )
    details = [
        x.permute(1, 2, 0).view(1, -1, *size)
        for x, size in zip(features[:-1], sizes[:-1], strict=True)
    ]
    *_, masks, _, score = step(
        "predict",
        lambda: model._forward_sam_heads(
            fused, high_res_features=details, multimask_output=True
        ),
    )
    step(
        "remember",
        lambda: model._encode_new_memory(features, sizes, masks, score, False),
    )
    return counts


def _rows(trunk: Trunk, objects: int) -> Iterator[str]:
    ours = our_counts(trunk, objects)
    theirs = reference_counts(trunk) if reference.is_installed() else {}
    for name, counting in ours.items():
        times = 1 if name == "encode" else objects
        other = _told(theirs[name], times) if name in theirs else "- | -"
        yield f"| {trunk}, {objects} | {name} | {other} | {_told(counting)} |"
        yield from (f"  {n:5} {what}" for what, n in counting.operators.most_common())


def _told(counting: Counting, times: int = 1) -> str:
    """Two columns: operators and bytes, and calls."""
    operators = counting.operators.total() * times
    size = counting.bytes * times / 1e9
    return f"{operators:,} ({size:.2f} GB) | {counting.calls * times:,}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a row for each step of a frame."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.operators", description=__doc__
    )
    parser.add_argument("--trunks", nargs="+", default=["tiny", "large"])
    parser.add_argument("--objects", nargs="+", type=int, default=[1, 32])
    parser.add_argument("--names", action="store_true", help="also by operator")
    options = parser.parse_args(arguments)
    sys.stdout.write("| model, objects | step | sam2 1.1.0 | calls | ours | calls |\n")
    sys.stdout.write("| --- | --- | --- | --- | --- | --- |\n")
    # tables that modules keep belong to one mode
    with FakeTensorMode(allow_non_fake_inputs=True):
        for trunk in options.trunks:
            for objects in options.objects:
                for row in _rows(cast("Trunk", trunk), objects):
                    if options.names or row.startswith("|"):
                        sys.stdout.write(f"{row}\n")


if __name__ == "__main__":
    main()
