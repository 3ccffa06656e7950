"""Golden vectors and the formula weights behind them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import ModuleType

    import numpy.typing as npt

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def formula() -> Iterator[ModuleType]:
    """Weights and frames as formulas of a name and a seed."""
    sys.path.insert(0, str(GOLDEN))
    yield importlib.import_module("formula")
    sys.path.remove(str(GOLDEN))


@pytest.fixture(scope="session")
def scenarios(formula: ModuleType) -> ModuleType:
    """The recorded scenarios."""
    del formula
    return importlib.import_module("scenarios")


@pytest.fixture(scope="session")
def recorded() -> Recorded:
    """Arrays that the reference implementations gave."""
    return Recorded()


class Recorded:
    """Reads golden files and compares against them."""

    def load(self, name: str) -> Mapping[str, npt.NDArray[np.float32]]:
        """All arrays of one file."""
        with np.load(GOLDEN / f"{name}.npz") as file:
            return dict(file)

    def check_image(
        self, name: str, got: Mapping[str, npt.NDArray[np.float32]]
    ) -> None:
        """Logits within 1e-3, scores within 1e-4, areas within a handful of pixels."""
        expected = self.load(name)
        assert got.keys() == expected.keys()
        tolerance = {"low_res": 1e-3, "scores": 1e-4, "area": 4.0}
        for key, value in expected.items():
            limit = tolerance[key.rsplit(".", 1)[1]]
            assert got[key].shape == value.shape, key
            assert np.abs(got[key] - value).max() <= limit, key

    def check_video(
        self,
        name: str,
        got: Mapping[str, npt.NDArray[np.float32]],
        *,
        whole: bool = True,
    ) -> None:
        """Check prompts and the first tracked frame closely, what follows coarsely.

        Close is 2e-3 at the 99th percentile and 0.1 at most. The weights amplify a
        difference in rounding from frame to frame, and the vectors were recorded on
        another machine: what is tracked strays by a median of 0.001, at the end of a
        long chain (a correction, then another run) by 0.009 to 0.045 as the processor
        will have it. A slip in the memory shows as 0.1 and more from the first frame
        that reads it. `test_against_sam2.py` compares whole sessions closely, on one
        machine.
        """
        expected = self.load(name)
        assert got, "the scenario gave nothing"
        assert got.keys() <= expected.keys()
        assert not whole or got.keys() == expected.keys()
        strayed: list[float] = []
        for key, value in got.items():
            difference = np.abs(value - expected[key])
            if is_near_prompt(key, got):
                assert np.percentile(difference, 99) <= 2e-3, key
                assert difference.max() <= 0.1, key
            else:
                limit = 0.08 if key.startswith("again") else 0.03
                strayed.append(float(np.median(difference)))
                assert strayed[-1] <= limit, key
                assert np.percentile(difference, 90) <= 2.5 * limit, key
        assert np.median(strayed or [0]) <= 0.01


def is_near_prompt(key: str, keys: Iterable[str]) -> bool:
    """Whether a result comes from prompts alone or from the first tracked frame."""
    kind, frame, _ = key.split(".") if key.count(".") == 2 else (key, "0", "")
    if kind != "forward":
        return not kind.startswith(("reverse", "correction", "again"))
    first = min(int(k.split(".")[1]) for k in keys if k.startswith("forward"))
    return int(frame) <= first + 1
