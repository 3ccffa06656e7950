"""The one place where time is taken: two sides in turn, medians, spread of ratios.

The clock counts, as users see it. Beside it goes the processor time of this process,
which tells on a busy machine whether a ratio is one of work or of luck.
"""

from __future__ import annotations

import gc
import math
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from tests.benchmarks.measurement import Measurement, Quantity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

SHORTEST = 0.02
"""Seconds that a timed stretch lasts at least; shorter work is repeated inside it."""
MOST_LOOPS = 1000


@dataclass(frozen=True)
class Spent:
    """What one round of one side took."""

    seconds: float
    """By the clock."""
    processor: float
    """Seconds of all threads of this process."""


@dataclass(frozen=True)
class Side(Generic[T]):
    """What is compared: work on something that is made anew for each round.

    Work that uses up what it is given (`renewed`) runs once in a round; other work is
    repeated until a round is long enough for the clock.
    """

    name: str
    prepare: Callable[[], T]
    run: Callable[[T], object]
    renewed: bool = True
    warm_up: Callable[[], object] | None = None
    """Runs before the first round instead of the work itself."""


def side(name: str, call: Callable[[], object]) -> Side[None]:
    """Work without a state: `call` may run any number of times."""
    return Side(name, lambda: None, lambda _: call(), renewed=False)


def compare(
    title: str,
    baseline: Side[Any] | None,
    ours: Side[Any],
    *,
    repeats: int,
    device: torch.device,
    note: str = "",
) -> Measurement:
    """Time both sides in turn; the ratio is that of the medians.

    Neither side goes first always, so that what changes with time meets both alike.
    The spread is that of the ratios of single rounds.
    """
    sides = [ours] if baseline is None else [baseline, ours]
    rounds = _in_turn(sides, repeats, device)
    seconds = [[spent.seconds for spent in one] for one in rounds]
    own = Quantity(ours.name, median(seconds[-1]))
    if baseline is None:
        return Measurement(title, None, own, note=note)
    ratios = [theirs / mine for theirs, mine in zip(*seconds, strict=True)]
    work = [median(spent.processor for spent in one) for one in rounds]
    return Measurement(
        title,
        Quantity(baseline.name, median(seconds[0])),
        own,
        spread=(min(ratios), max(ratios)) if repeats > 1 else None,
        note=note,
        processor_ratio=work[0] / work[1] if device.type == "cpu" else None,
    )


def _in_turn(
    sides: Sequence[Side[Any]], repeats: int, device: torch.device
) -> list[list[Spent]]:
    loops = [_warmed_up(one, device) for one in sides]
    rounds: list[list[Spent]] = [[] for _ in sides]
    for number in range(repeats):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for index in order:
            rounds[index].append(_once(sides[index], loops[index], device))
    return rounds


def _warmed_up(one: Side[T], device: torch.device) -> int:
    """Run the work untimed, and say how often a round shall repeat it."""
    if one.warm_up is not None:
        one.warm_up()
        return 1
    first = _once(one, 1, device).seconds
    if one.renewed:
        return 1
    second = _once(one, 1, device).seconds if first < SHORTEST else first
    return min(MOST_LOOPS, math.ceil(SHORTEST / max(second, 1e-6)))


def _once(one: Side[T], loops: int, device: torch.device) -> Spent:
    state = one.prepare()
    gc.collect()
    gc.disable()
    try:
        _wait(device)
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(loops):
            one.run(state)
        _wait(device)
        return Spent(
            (time.perf_counter() - start) / loops,
            (time.process_time() - processor) / loops,
        )
    finally:
        gc.enable()


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
