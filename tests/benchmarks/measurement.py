"""What a benchmark is, what it is asked to do, and what it found."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[2]

Scale = Literal["full", "quick", "smoke"]
"""The sizes of the table; sizes for a busy machine; as small as still runs."""
Unit = Literal["s", "B", "B/frame"]


@dataclass(frozen=True)
class Plan:
    """How much one case does."""

    size: int
    """Side in pixels: of the network's input, or of the image where a case says so."""
    objects: int = 1
    frames: int = 1
    repeats: int = 5
    """Rounds of baseline and ours, one after the other in each."""


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line; None leaves it to the case."""

    device: torch.device
    scale: Scale = "full"
    size: int | None = None
    objects: int | None = None
    frames: int | None = None
    repeats: int | None = None

    def plan(self, *, full: Plan, quick: Plan, smoke: Plan) -> Plan:
        """Amounts of a case at this scale, with what was asked for in their place."""
        chosen = {"full": full, "quick": quick, "smoke": smoke}[self.scale]
        asked = {
            name: value
            for name in ("size", "objects", "frames", "repeats")
            if (value := getattr(self, name)) is not None
        }
        return replace(chosen, **asked)


@dataclass(frozen=True)
class Case:
    """One benchmark; it may give several rows."""

    name: str
    title: str
    """What the table says while nothing is measured."""
    run: Callable[[Settings], list[Measurement]]
    devices: tuple[str, ...] = ("cpu", "cuda")
    """Kinds of device that it makes sense on."""


@dataclass(frozen=True)
class Quantity:
    """One measured figure and what was measured."""

    name: str
    value: float
    unit: Unit = "s"


@dataclass(frozen=True)
class Measurement:
    """Ours against a baseline."""

    title: str
    """What was done, with all sizes."""
    baseline: Quantity | None
    """None if the baseline could not run; `note` says why."""
    ours: Quantity
    spread: tuple[float, float] | None = None
    """Smallest and largest ratio of single rounds; None for one round."""
    note: str = ""
    """What the reader must know besides: agreement of results, what was estimated."""
    processor_ratio: float | None = None
    """How many times less processor time ours takes, which other programs disturb
    less than the clock; None where that says nothing."""

    @property
    def ratio(self) -> float | None:
        """How many times less ours takes."""
        if self.baseline is None:
            return None
        return self.baseline.value / max(self.ours.value, 1e-12)


@dataclass(frozen=True)
class Provenance:
    """Where and from what a measurement comes."""

    device: str
    """Name of the processor or the graphics card."""
    kind: str
    """``cpu`` or ``cuda``."""
    threads: int
    commit: str
    """Short hash; a plus sign says that files had been changed since."""
    scale: Scale

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Describe this machine and this checkout."""
        kind = settings.device.type
        name = torch.cuda.get_device_name() if kind == "cuda" else _processor()
        return cls(name, kind, torch.get_num_threads(), _commit(), settings.scale)


@dataclass(frozen=True)
class Record:
    """A measurement that can be kept."""

    case: str
    measurement: Measurement
    provenance: Provenance

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `to_json` gave."""
        measured = dict(values["measurement"])
        baseline, spread = measured["baseline"], measured["spread"]
        measured["baseline"] = Quantity(**baseline) if baseline else None
        measured["ours"] = Quantity(**measured["ours"])
        measured["spread"] = tuple(spread) if spread else None
        return cls(
            values["case"], Measurement(**measured), Provenance(**values["provenance"])
        )


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _commit() -> str:
    def git(*arguments: str) -> str:
        done = subprocess.run(  # noqa: S603
            ("git", *arguments),  # noqa: S607
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "--short", "HEAD") or "unknown"
    return commit + "+" * bool(git("status", "--porcelain", "--", "src"))
