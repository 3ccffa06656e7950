"""Memories are kept while there is room, the latest used ones first."""

from __future__ import annotations

import torch

from napari_hqsam2.predictors.memory_bank import FrameOutput
from napari_hqsam2.session.memories import ConditioningMemories


def output(size):
    """An output of 4 * size + 8 bytes."""
    number = torch.zeros(1)
    return FrameOutput(None, number, number, number, memory=torch.zeros(size + 1))


def key(number):
    return number, "key", "add"


def test_the_least_recently_used_goes_first():
    memories = ConditioningMemories(250)
    outputs = [output(20) for _ in range(4)]
    for number in (0, 1):
        memories.put(key(number), outputs[number])
    assert memories.get(key(0)) is outputs[0]
    memories.put(key(2), outputs[2])
    assert memories.get(key(1)) is None
    assert memories.get(key(0)) is outputs[0]
    assert memories.get((0, "key", "off")) is None
    memories.put(key(2), outputs[3])
    assert memories.get(key(2)) is outputs[3]
    assert memories.get(key(0)) is outputs[0]


def test_the_newest_is_held_at_any_size():
    memories = ConditioningMemories(10)
    large = output(100)
    memories.put(key(0), output(1))
    memories.put(key(1), large)
    assert memories.get(key(1)) is large
    assert memories.get(key(0)) is None
