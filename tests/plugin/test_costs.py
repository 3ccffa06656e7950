"""Costs of runs: measured ones only, more or fewer objects, and how much is to do."""

import json
import subprocess
import sys

import pytest
import torch

from napari_hqsam2.plugin.costs import (
    MOST_COSTS,
    MOST_KEYS,
    CostBook,
    RunCost,
    cost_key,
    size_and_cost_words,
)
from napari_hqsam2.plugin.memory_watch import MemoryWatch
from napari_hqsam2.plugin.run_sizes import RunSize
from napari_hqsam2.plugin.state import PluginState


def test_nothing_is_expected_before_something_was_measured(tmp_path):
    path = tmp_path / "settings" / "costs.json"
    book = CostBook(path)
    assert book.expect("a", 3) is None
    book.note("a", RunCost(2, 0.5, 100))
    assert book.expect("a", 2) == RunCost(2, 0.5, 100)
    assert book.expect("a", 4) == RunCost(4, 1.0, 200)
    assert book.expect("b", 2) is None
    assert CostBook(path).expect("a", 4) == RunCost(4, 1.0, 200)
    assert CostBook().expect("a", 4) is None


def test_two_runs_tell_what_an_object_adds():
    book = CostBook()
    book.note("a", RunCost(1, 0.3, None))
    book.note("a", RunCost(5, 0.7, 1000))
    assert book.expect("a", 3).seconds == pytest.approx(0.5)
    assert book.expect("a", 10).seconds == pytest.approx(1.2)
    assert book.expect("a", 10).peak_bytes == 2000
    book.note("a", RunCost(1, 0.5, None))
    assert book.expect("a", 3).seconds == pytest.approx(0.6)
    book.note("a", RunCost(5, 0.9, 10))
    assert book.expect("a", 5) == RunCost(5, pytest.approx(0.9), 1000)


def test_no_cost_is_less_than_nothing():
    book = CostBook()
    for objects, seconds in ((2, 1.0), (10, 0.8)):
        book.note("falls", RunCost(objects, seconds, None))
    assert book.expect("falls", 100).seconds == pytest.approx(0.9)
    for objects, seconds in ((5, 0.1), (10, 1.0)):
        book.note("steep", RunCost(objects, seconds, None))
    assert book.expect("steep", 1).seconds > 0


def test_a_book_stays_small(tmp_path):
    book = CostBook(tmp_path / "costs.json")
    for number in range(MOST_KEYS + 3):
        book.note(str(number), RunCost(1, 1.0, None))
    for objects in range(1, MOST_COSTS + 4):
        book.note("5", RunCost(objects, 1.0, None))
    kept = json.loads((tmp_path / "costs.json").read_text())
    assert len(kept) == MOST_KEYS
    assert "0" not in kept
    assert [cost[0] for cost in kept["5"]] == list(range(4, MOST_COSTS + 4))


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"a": 3}', '{"a": [[0, 1, null]]}', '{"a": [[1, NaN, 2]]}']
)
def test_a_damaged_book_is_empty(tmp_path, text):
    path = tmp_path / "costs.json"
    path.write_text(text)
    book = CostBook(path)
    assert book.expect("a", 1) is None
    book.note("a", RunCost(1, 2.0, None))
    assert CostBook(path).expect("a", 1).seconds == 2.0


def test_settings_frames_and_machine_tell_runs_apart(monkeypatch):
    state = PluginState()
    key = cost_key(state, (512, 300))
    assert cost_key(state, (600, 1000)) == key
    assert cost_key(state, (1024, 1024)) != key
    state.hq_mode = "off"
    assert cost_key(state, (512, 512)) == key
    state.tracking = "local"
    assert cost_key(state, (512, 512)) != key
    state.tracking = "exact"
    monkeypatch.setattr("platform.node", lambda: "elsewhere")
    assert cost_key(state, (512, 512)) != key


def test_costs_have_words():
    size = RunSize(39, 50, 5)
    assert size_and_cost_words(size, None, "frame") == "39 frames, 5 objects"
    cost = RunCost(5, 2.4, 240_000_000)
    words = "39 slices, 5 objects, about 2 min, 240 MB"
    assert size_and_cost_words(size, cost, "slice") == words
    most = RunSize(39, 50, 5, is_most=True)
    assert size_and_cost_words(most, cost, "slice") == f"at most {words}"
    little = RunCost(1, 0.1, 5_000)
    words = "1 frame, 1 object, about 1 s"
    assert size_and_cost_words(RunSize(1, 1, 1), little, "frame") == words


def test_the_memory_of_a_process_is_watched():
    """In a process of its own, where nothing else gives memory back meanwhile."""
    script = """if True:
        import numpy as np
        import torch
        from napari_hqsam2.plugin.memory_watch import MemoryWatch

        watch = MemoryWatch(torch.device("cpu"))
        if watch.peak_bytes is not None:
            block = np.ones(60_000_000, np.uint8)
            watch.look()
            assert 55_000_000 < watch.peak_bytes < 200_000_000
            del block
            watch.look()
            assert watch.peak_bytes > 55_000_000
    """
    subprocess.run([sys.executable, "-c", script], check=True)  # noqa: S603
    assert MemoryWatch(None).peak_bytes is None
    assert MemoryWatch(torch.device("meta")).peak_bytes is None


@pytest.mark.needs_cuda
def test_the_memory_of_a_gpu_is_watched():
    device = torch.device("cuda")
    kept = torch.ones(10_000_000, device=device)
    watch = MemoryWatch(device)
    passing = torch.ones(30_000_000, device=device)
    del passing
    watch.look()
    assert 120_000_000 <= watch.peak_bytes < 130_000_000
    del kept
