"""The environments of ``make compat`` are what the package promises."""

from __future__ import annotations

import re
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]


def test_the_oldest_napari_is_the_one_that_is_allowed() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (oldest,) = re.findall(r'"napari>=([\d.]+)"', text)
    pins = (ROOT / "tests/compat/oldest.txt").read_text(encoding="utf-8")
    assert f"napari=={oldest}\n" in pins


def test_everything_is_pinned() -> None:
    for path in (ROOT / "tests/compat").glob("*.txt"):
        lines = path.read_text(encoding="utf-8").splitlines()
        pins = [Requirement(line) for line in lines if not line.startswith("#")]
        assert all(str(pin.specifier).startswith("==") for pin in pins)
