"""What runs have taken, remembered by their settings, and what the next will take.

Nothing is guessed: without a run that was measured with the same settings, there is no
figure.
"""

from __future__ import annotations

import json
import logging
import platform
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_hqsam2.files import atomic_path, size_words
from napari_hqsam2.plugin.resolve import count_words, duration_words

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2._types import HW
    from napari_hqsam2.plugin.run_sizes import RunSize
    from napari_hqsam2.plugin.state import PluginState

logger = logging.getLogger(__name__)

FILE_NAME = "costs.json"
MOST_KEYS = 100
MOST_COSTS = 8
"""Runs with different numbers of objects that are remembered for each key."""
LEAST_BYTES = 10_000_000
"""Less memory is not told: it is lost in what a process needs anyway."""
DECIDES = ("model", "checkpoint", "device", "tracking", "resolution", "crop")
"""Choices that decide how long a frame takes."""


@dataclass(frozen=True, slots=True)
class RunCost:
    """What a run of some objects took."""

    objects: int
    seconds: float
    """For one frame, once the first one was done."""
    peak_bytes: int | None
    """Most memory above that before the run; None where it is not known."""


class CostBook:
    """Costs of runs by key.

    Parameters
    ----------
    path
        File that keeps them; None keeps them as long as the book lives.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._costs: dict[str, list[RunCost]] = {} if path is None else _read(path)

    def note(self, key: str, cost: RunCost) -> None:
        """Remember a run.

        Of runs of as many objects the newest counts; but the highest peak, as a process
        uses again what it has taken before.
        """
        known = self._costs.pop(key, [])
        same = [c.peak_bytes or 0 for c in known if c.objects == cost.objects]
        peak = max([cost.peak_bytes or 0, *same]) or None
        others = [c for c in known if c.objects != cost.objects]
        new = replace(cost, peak_bytes=peak)
        self._costs[key] = [*others, new][-MOST_COSTS:]
        while len(self._costs) > MOST_KEYS:
            del self._costs[next(iter(self._costs))]
        if self._path is not None:
            self._write(self._path)

    def expect(self, key: str, objects: int) -> RunCost | None:
        """What a run of so many objects will take; None if none was measured."""
        known = self._costs.get(key, [])
        seconds = _at(objects, [(c.objects, c.seconds) for c in known])
        sizes = [(c.objects, float(c.peak_bytes)) for c in known if c.peak_bytes]
        peak = _at(objects, sizes)
        if seconds is None:
            return None
        return RunCost(objects, seconds, None if peak is None else round(peak))

    def _write(self, path: Path) -> None:
        content = {
            key: [[c.objects, c.seconds, c.peak_bytes] for c in costs]
            for key, costs in self._costs.items()
        }
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
        except OSError as error:
            logger.warning("The costs of runs cannot be kept in %s: %s", path, error)


def cost_key(state: PluginState, hw: HW) -> str:
    """What runs must have in common for one to tell of the other.

    The machine is part of it, as settings may be shared by several, and the size of
    frames up to a factor of two.
    """
    side = max(hw).bit_length()
    chosen = [f"{name}={getattr(state, name)}" for name in DECIDES]
    return " ".join([platform.node(), *chosen, f"side<{2**side}"])


def size_and_cost_words(size: RunSize, cost: RunCost | None, noun: str) -> str:
    """Words for a run: "39 frames, 5 objects, about 2 min, 240 MB".

    Of a run that may turn out shorter: "at most 39 frames ...".

    `noun` is what one frame is called: "frame" or "slice".
    """
    frames = count_words(size.frames, noun)
    if size.is_most:
        frames = f"at most {frames}"
    words = [frames, count_words(size.objects, "object")]
    if cost is not None:
        words.append(duration_words(cost.seconds * size.steps))
        if cost.peak_bytes is not None and cost.peak_bytes >= LEAST_BYTES:
            words.append(size_words(cost.peak_bytes))
    return ", ".join(words)


def _at(objects: int, known: list[tuple[int, float]]) -> float | None:
    """A cost at a number of objects: a line through those known, or in proportion.

    What is fixed and what an object adds are never less than nothing.
    """
    if not known:
        return None
    numbers, values = (np.array(column, float) for column in zip(*known, strict=True))
    if len(known) == 1:
        return float(values[0] * objects / numbers[0])
    slope, fixed = (float(value) for value in np.polyfit(numbers, values, 1))
    if slope < 0:
        return float(values.mean())
    if fixed < 0:
        slope, fixed = float((numbers @ values) / (numbers @ numbers)), 0.0
    return slope * objects + fixed


def _read(path: Path) -> dict[str, list[RunCost]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {str(key): list(map(_cost, costs)) for key, costs in content.items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        logger.warning("%s is not read: %s", path, error)
        return {}


def _cost(values: Any) -> RunCost:
    objects, seconds, peak = values
    cost = RunCost(int(objects), float(seconds), None if peak is None else int(peak))
    if cost.objects < 1 or not 0 < cost.seconds < float("inf"):
        msg = f"{values} is not what a run can take"
        raise ValueError(msg)
    return cost
