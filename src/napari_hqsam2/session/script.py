"""A session as the Python code that repeats it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.segmentation.mixing import COLOURS
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.session.settings import STORED_SETTINGS, RunSettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_hqsam2.session.stacks import SessionStack

NAMES = ("BoxPrompt", "Mix", "MixChannel", "PointPrompt")
"""What calls may name."""
MASKS = "from napari_hqsam2.session.packed_masks import PackedMask\n"


def call(method: str, *args: Any, **kwargs: Any) -> str:
    """Text of a call of a session's method."""
    given = [literal(arg) for arg in args]
    given += [f"{name}={literal(value)}" for name, value in kwargs.items()]
    return f"session.{method}({', '.join(given)})"


def literal(value: Any) -> str:
    """Text that evaluates to a value: of plain types, arrays, prompts and masks."""
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    if isinstance(value, tuple):
        inside = ", ".join(map(literal, value))
        return f"({inside},)" if len(value) == 1 else f"({inside})"
    if isinstance(value, list):
        return f"[{', '.join(map(literal, value))}]"
    return repr(value)


def run_options(**values: Any) -> dict[str, Any]:
    """Options of a run that are not the defaults."""
    defaults = vars(RunSettings())
    return {name: v for name, v in values.items() if v != defaults[name]}


def run_loop(axis: str, settings: RunSettings, done: int | None) -> str:
    """The loop over a run; `done` frames of it, or None for all."""
    values = {name: value for name, value in vars(settings).items() if name != "cancel"}
    options = run_options(**{**values, "max_steps": done})
    return f"for _ in {call('propagate', axis, **options)}:\n    pass"


@dataclass(frozen=True, slots=True)
class ScriptHeader:
    """How a session is made."""

    comments: list[str]
    """What the names stand for that the script does not define."""
    arguments: dict[str, str]
    """Expressions by argument name of `Session`, the stack apart."""

    @classmethod
    def of(
        cls, settings: StackSettings, stack: SessionStack, *, has_labels: bool
    ) -> ScriptHeader:
        """The session as it is made, for its script."""
        comments = [f"stack: {stack.axes.described}"]
        arguments = {"axes": literal(stack.axes.letters)}
        if isinstance(settings.model, str):
            arguments["model"] = literal(settings.model)
        else:
            arguments["model"] = "model"
            comments.append("model: the predictor of this session")
        if has_labels:
            arguments["labels"] = "labels"
            comments.append("labels: the array that was given, as it was then")
        defaults = StackSettings()
        for name in STORED_SETTINGS:
            value = getattr(settings, name)
            if value != getattr(defaults, name):
                arguments[name] = literal(value)
        if settings.mix is not None:
            arguments["mix"] = literal(settings.mix)
        return cls(comments, arguments)


def whole_script(header: ScriptHeader, calls: Sequence[str]) -> str:
    """Imports, the session, and all calls, which are as from `call`."""
    given = ", ".join(["stack", *(f"{k}={v}" for k, v in header.arguments.items())])
    notes = "".join(f"# {line}\n" for line in header.comments)
    body = "\n".join([f"session = Session({given})", *calls])
    names = [name for name in NAMES if f"{name}(" in body]
    for colour in COLOURS:
        if f"MixChannel({colour}_stack" in body:
            notes += f"# {colour}_stack: the array that was shown as {colour}\n"
    imports = f"from napari_hqsam2 import {', '.join([*names, 'Session'])}\n"
    imports += MASKS if "PackedMask." in body else ""
    return f"{imports}\n{notes}{body}\n"
