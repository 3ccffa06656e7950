"""The heavy parts of a model through ``torch.compile``, for long batch work.

Compiling takes minutes and may fail in many ways. What is not compiled, not yet, not in
time or not at all, is computed as ever.
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor, nn

from napari_hqsam2.errors import CompileError

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from napari_hqsam2.modeling.hqsam2 import HqSam2

    Method: TypeAlias = Callable[..., Any]
    Compiler: TypeAlias = Callable[[Method, bool], Method]

logger = logging.getLogger(__name__)

TIME_LIMIT = 120.0
"""Seconds after which the compiler begins nothing new for a model."""
PARTS = (
    ("image_encoder", "forward"),
    ("memory_attention", "look_around"),
    ("memory_attention", "forward"),
    ("sam_mask_decoder", "forward"),
    ("memory_encoder", "forward"),
)
"""Modules of a model, and those of their methods that take time."""
FIXED = "image_encoder"
"""Compiled for one size of input; all others for any number of objects, memories."""
MANY = 2
"""Sizes from here on are alike for what is compiled for any size."""
MOST_VARIANTS = 32
"""Kinds of inputs (kinds of prompts, one object or many, ...) of one method."""
QT = ("PyQt6", "PyQt5", "PySide6", "PySide2")


def compile_model(
    model: HqSam2, *, time_limit: float = TIME_LIMIT, compiler: Compiler | None = None
) -> None:
    """Let a model compile its heavy parts when they are first used for inference.

    Its parameters and their names stay as they are. Where compiling fails or the time
    is up, one line in the log says so; what is compiled by then stays, all else is
    computed without.

    Parameters
    ----------
    model : HqSam2
        Changed in place; once is enough.
    time_limit : float
        Seconds for all parts together, after which no other is begun.
    compiler : callable, optional
        Makes a function of a function, for any sizes or for each; by default
        ``torch.compile``, which needs a C++ compiler, and Triton for CUDA.

    Raises
    ------
    CompileError
        This process shows windows: the compiler would crash it.
    """
    compiler = compiler or _torch_compiler()
    budget = _Budget(time_limit)
    for name, method in PARTS:
        part = getattr(model, name)
        if method not in vars(part):
            plain = getattr(type(part), method)
            is_fixed = name == FIXED
            compiled = compiler(plain, not is_fixed)
            setattr(part, method, _Compiled(part, plain, compiled, is_fixed, budget))


def is_compiled(model: HqSam2) -> bool:
    """Whether a model was given to `compile_model`."""
    name, method = PARTS[0]
    return method in vars(getattr(model, name))


def _refuse_windows() -> None:
    for package in QT:
        widgets = sys.modules.get(f"{package}.QtWidgets")
        if widgets is not None and widgets.QApplication.instance() is not None:
            msg = (
                "compile=True does not work in a process with windows, such as napari: "
                "the compiler and the software renderer would crash each other. "
                "Compile in a script without windows or with `napari-hqsam2 segment "
                "--compile`, or leave it out."
            )
            raise CompileError(msg)


def _torch_compiler() -> Compiler:
    _refuse_windows()
    import torch._dynamo  # noqa: PLC0415 - seconds, and Triton

    config = torch._dynamo.config  # noqa: SLF001
    config.recompile_limit = max(config.recompile_limit, MOST_VARIANTS)
    return lambda method, is_dynamic: torch.compile(method, dynamic=is_dynamic)


@dataclass
class _Budget:
    """Time that the compiler has left, for all parts of a model."""

    left: float

    def spend(self, seconds: float, name: str) -> None:
        """Take time away for a method that was compiled."""
        self.left -= seconds
        if self.left <= 0:
            self.close(name, "was compiled when the time was up")

    def close(self, name: str, what: str) -> None:
        """Compile nothing any more, and say why."""
        self.left = 0.0
        logger.warning(
            "%s %s; what is not compiled yet is computed without.", name, what
        )


@dataclass(frozen=True, eq=False)
class _Compiled:
    """A method that is compiled when inputs of a new kind come."""

    part: nn.Module
    plain: Method
    """The method of the class."""
    compiled: Method
    """The same, compiled at its first calls."""
    is_fixed: bool
    """Whether every size is compiled anew."""
    budget: _Budget
    known: set[Hashable] = field(default_factory=set)
    """Kinds of inputs that it is compiled for."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method, compiled if that can be."""
        kind = _kind((args, kwargs), sys.maxsize if self.is_fixed else MANY)
        may_compile = kind in self.known or self.budget.left > 0
        if torch.is_inference_mode_enabled() and may_compile:
            try:
                return self._call_compiled(kind, args, kwargs)
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - compilers fail in any way
                self.known.discard(kind)
                reason = (str(error).strip() or "no message").splitlines()[0]
                what = f"could not be compiled ({type(error).__name__}: {reason})"
                self.budget.close(self.plain.__qualname__, what)
        return self.plain(self.part, *args, **kwargs)

    def _call_compiled(self, kind: Hashable, args: Any, kwargs: Any) -> Any:
        if kind in self.known:
            return self.compiled(self.part, *args, **kwargs)
        start = time.monotonic()
        result = self.compiled(self.part, *args, **kwargs)
        self.known.add(kind)
        self.budget.spend(time.monotonic() - start, self.plain.__qualname__)
        return result


def _kind(value: Any, most: int) -> Hashable:
    """What a compiler tells apart in its inputs; sizes from `most` on are alike."""
    if isinstance(value, Tensor):
        sizes = tuple(min(size, most) for size in value.shape)
        order = sorted(range(value.ndim), key=value.stride().__getitem__)
        return (value.dtype, value.device, sizes, tuple(order))
    if isinstance(value, bool | str | None):
        return value
    if isinstance(value, int):
        return min(value, most)
    return (type(value), *(_kind(part, most) for part in _parts(value)))


def _parts(value: Any) -> Iterable[Any]:
    """What a tuple, list, dictionary or dataclass holds."""
    if isinstance(value, dict):
        return value.values()
    if is_dataclass(value):
        return [getattr(value, one.name) for one in fields(value)]
    return value if isinstance(value, tuple | list) else ()
