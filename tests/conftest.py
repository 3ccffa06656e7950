"""Markers, resources that a test may lack, and fixtures for the whole suite.

A test whose resource is missing is skipped, unless ``FAIL_WITHOUT_<RESOURCE>`` is set:
a job that exists to run such tests cannot pass by skipping them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import shutil
import sys
import threading
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

SEED = 20_240_729
VIEWER_FIXTURES = frozenset(
    {"qapp", "qtbot", "make_napari_viewer", "make_napari_viewer_proxy"}
)

# A busy machine is not a failure; --hypothesis-profile=thorough looks further.
settings.register_profile(
    "quick", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=2000)
settings.load_profile("quick")


def pytest_configure(config: pytest.Config) -> None:
    """Share the cores among the workers, before torch reads how many it may use."""
    # A software renderer (Mesa) makes its LLVM global; Triton, which torch's optimisers
    # import, crashes if it comes after a window was drawn with it.
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module("triton")
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    threads = max(1, (os.cpu_count() or 1) // workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))


def pytest_collection_finish() -> None:
    """Let the collector of garbage not look again and again at what imports made."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Iterator[None]:
    """The same once a file of tests is over, for what was imported on the way."""
    yield
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what opens a window, whether its author thought of it or not."""
    for item in items:
        if VIEWER_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.gui)


def _missing_cuda() -> str | None:
    torch = importlib.import_module("torch")
    return None if torch.cuda.is_available() else "torch sees no CUDA device"


def _missing_weights(name: str) -> str | None:
    download = importlib.import_module("napari_hqsam2.weights.download")
    path = download.cached_path(name)
    return None if path.is_file() else f"{name} is not at {path}"


def _missing_display() -> str | None:
    if sys.platform != "linux" or os.environ.get("QT_QPA_PLATFORM") == "offscreen":
        return None
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return None
    return "there is no display; run the suite through tools/with_display.sh"


def _missing_nvrtc() -> str | None:
    torch = importlib.import_module("torch")
    return None if torch.version.cuda else "this torch is a CPU build without NVRTC"


def _missing_cxx() -> str | None:
    return None if shutil.which("g++") else "there is no g++"


CHECKS: dict[str, tuple[str, Callable[..., str | None]]] = {
    "gui": ("FAIL_WITHOUT_DISPLAY", _missing_display),
    "needs_cuda": ("FAIL_WITHOUT_CUDA", _missing_cuda),
    "needs_nvrtc": ("FAIL_WITHOUT_NVRTC", _missing_nvrtc),
    "needs_cxx": ("FAIL_WITHOUT_CXX", _missing_cxx),
    "needs_weights": ("FAIL_WITHOUT_WEIGHTS", _missing_weights),
}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, or fail, a test whose resource is not there."""
    for name, (variable, check) in CHECKS.items():
        for mark in item.iter_markers(name):
            missing = check(*mark.args)
            if missing is None:
                continue
            if os.environ.get(variable):
                pytest.fail(f"{variable} is set, but {missing}.", pytrace=False)
            pytest.skip(missing)


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers that are the same in every run, whatever ran before."""
    return np.random.default_rng(SEED)


@pytest.fixture(scope="session")
def make_untrained() -> Callable[..., SAM2VideoPredictor]:
    """Makes built-in models that are untrained, small, and see every object in view.

    There is one of each kind; tests leave it as it is.
    """
    torch = importlib.import_module("torch")
    build = importlib.import_module("napari_hqsam2.build")

    @cache
    def make(image_size: int = 64, **options: Any) -> SAM2VideoPredictor:
        torch.manual_seed(0)
        predictor: SAM2VideoPredictor = build.build_sam2_video_predictor(
            "sam2.1_hq_hiera_nano",
            device="cpu",
            hydra_overrides_extra=[f"model.image_size={image_size}"],
            **options,
        )
        score_head = predictor.model.sam_mask_decoder.pred_obj_score_head
        torch.nn.init.constant_(list(score_head.parameters())[-1], 5)
        return predictor

    return make


class StuckStack:
    """A lazy stack that does not give one frame of its first axis before `open`."""

    def __init__(self, stack: np.ndarray, bad: int) -> None:
        self.shape, self.dtype = stack.shape, stack.dtype
        self.open = threading.Event()
        self._stack, self._bad = stack, bad

    def __getitem__(self, key: tuple[Any, ...]) -> Any:
        if key[0] == self._bad:
            assert self.open.wait(30)
        return self._stack[key]


@pytest.fixture
def make_stuck() -> Iterator[Callable[[np.ndarray, int], StuckStack]]:
    """Makes stacks of which a frame does not come; at the end it does."""
    made: list[StuckStack] = []

    def make(stack: np.ndarray, bad: int) -> StuckStack:
        made.append(StuckStack(stack, bad))
        return made[-1]

    yield make
    for stack in made:
        stack.open.set()
