"""The images and labels of a fine-tuning: found, checked, and split."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_hqsam2.errors import TrainingError
from napari_hqsam2.training.fine_tuning.pairs import find_pairs
from napari_hqsam2.training.fine_tuning.stacks import (
    LabelledStack,
    Reading,
    Split,
    open_labelled,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHOWN = 4


@dataclass(frozen=True)
class Data:
    """Labelled frames that were found."""

    parts: Split
    fingerprint: str
    """Hash of all pixels and labels."""


@dataclass(frozen=True, kw_only=True)
class DataFiles:
    """Where images and labels are, and what is held out to measure on."""

    images: Path
    labels: Path | None
    """As in `find_pairs`."""
    validation: tuple[Path, Path] | None = None
    """Images and labels to measure on; None holds out a share of the others."""
    held_out: float = 0.2
    """That share."""
    seed: int = 0
    """Chooses what is held out."""
    axes: str | None = None
    channels: tuple[int, ...] | None = None
    """As in `Reading`."""

    @property
    def share(self) -> float:
        """Share of the images that is held out."""
        return 0.0 if self.validation else self.held_out

    def read(self, say: Callable[[str], None]) -> Data:
        """Find, check and split them.

        Raises
        ------
        HqSam2Error
            Files do not fit each other, or hold no object.
        """
        stacks = self._stacks(self.images, self.labels, say)
        parts = split(stacks, self.share, self.seed)
        if self.validation:
            measured = self._stacks(*self.validation, say)
            parts = Split(parts.train, split(measured, 0.0, 0).train)
            stacks += measured
        digests = " ".join(stack.digest for stack in stacks)
        fingerprint = hashlib.blake2b(digests.encode(), digest_size=16).hexdigest()
        learnt, measured_on = len(parts.train), len(parts.validation)
        say(f"{learnt} labelled frames to learn from, {measured_on} to measure on")
        return Data(parts, fingerprint)

    def _stacks(
        self, images: Path, labels: Path | None, say: Callable[[str], None]
    ) -> list[LabelledStack]:
        pairs = find_pairs(images, labels)
        if pairs.left_out:
            names = ", ".join(path.name for path in pairs.left_out[:SHOWN])
            say(f"{len(pairs.left_out)} files have no counterpart, such as {names}")
        reading = Reading(self.axes, self.channels)
        stacks = [open_labelled(pair, reading) for pair in pairs.found]
        kept = [stack for stack in stacks if stack.frames]
        if not kept:
            msg = (
                f"The labels of all {len(stacks)} images are empty, such as "
                f"{stacks[0].pair.labels}: there is no object to learn from."
            )
            raise TrainingError(msg)
        return kept
