"""Which memories a frame reads, and which are dropped."""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.predictors.memory_bank import (
    ARCHIVED_LOGIT,
    FrameOutput,
    Glimpse,
    MemoryBank,
    MemoryReach,
    archive_masks,
    closest_conditioning,
    select_memory_frames,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

REACH = MemoryReach(
    num_memories=7, max_pointers=16, max_conditioning=-1, num_frames=300
)


def output(seed: int = 0) -> FrameOutput:
    generator = torch.Generator().manual_seed(seed)
    return FrameOutput(
        low_res=torch.randn(1, 1, 16, 24, generator=generator),
        pointer=torch.zeros(1, 8),
        object_score=torch.ones(1, 1),
        iou_score=torch.ones(1),
        memory=torch.zeros(1, 4, 4, 6),
    )


def test_forward_reads_the_prompt_and_the_six_frames_before() -> None:
    got = select_memory_frames(30, [2], range(3, 30), REACH, reverse=False)
    assert got.spatial == (
        (0, 2), (1, 24), (2, 25), (3, 26), (4, 27), (5, 28), (6, 29),
    )  # fmt: skip
    assert got.pointers == ((28, 2), *((d, 30 - d) for d in range(1, 16)))


def test_reverse_reads_the_frames_after() -> None:
    got = select_memory_frames(3, [6], [4, 5, 2], REACH, reverse=True)
    assert got.spatial == ((0, 6), (5, 5), (6, 4))
    assert got.pointers == ((3, 6), (1, 4), (2, 5))


def test_pointers_of_conditioning_frames_come_from_the_past_only() -> None:
    got = select_memory_frames(3, [1, 8], [2], REACH, reverse=False)
    assert got.spatial == ((0, 1), (0, 8), (6, 2))
    assert got.pointers == ((2, 1), (1, 2))


def test_conditioning_frames_beyond_the_cap_count_as_tracked() -> None:
    reach = replace(REACH, max_conditioning=2)
    got = select_memory_frames(10, [0, 7, 9, 12], [8], reach, reverse=False)
    assert got.spatial == ((0, 9), (0, 12), (4, 7), (5, 8))
    assert got.pointers == ((1, 9), (2, 8), (3, 7), (10, 0))


@given(
    st.integers(0, 50),
    st.sets(st.integers(0, 50), min_size=1, max_size=12),
    st.integers(2, 6),
)
def test_closest_conditioning_frames(frame: int, frames: set[int], most: int) -> None:
    chosen = closest_conditioning(frame, frames, most)
    assert len(chosen) == len(set(chosen)) == min(most, len(frames))
    assert set(chosen) <= frames
    before = [t for t in frames if t < frame]
    after = [t for t in frames if t >= frame]
    assert not before or max(before) in chosen
    assert not after or min(after) in chosen


@pytest.mark.parametrize("step", [1, -1])
def test_memory_does_not_grow_with_the_video(step: int) -> None:
    bank = MemoryBank(conditioning={100: output()})
    for count in range(1, 101):
        frame = 100 + step * count
        bank.add_tracked(frame, output(frame))
        bank.forget_out_of_reach(frame, REACH)
        assert len(bank.tracked) <= 2 * REACH.max_pointers
        with_features = [t for t, o in bank.tracked.items() if o.memory is not None]
        assert len(with_features) <= 2 * REACH.num_memories
    reachable = select_memory_frames(
        100 + step * 101, [100], range(201), REACH, reverse=step < 0
    )
    for _, frame in reachable.spatial:
        assert bank[frame].memory is not None
    for _, frame in reachable.pointers:
        assert bank.get(frame) is not None


def test_archived_masks_come_back_as_masks() -> None:
    bank = MemoryBank(conditioning={0: output()})
    original = output(3)
    bank.add_tracked(1, original)
    bank.forget_out_of_reach(1, REACH)
    assert bank.previous_logits(1) is original.low_res
    bank.conditioning.clear()
    bank.forget_out_of_reach(60, REACH)
    assert bank.get(1) is None
    logits = bank.previous_logits(1)
    assert logits is not None
    assert original.low_res is not None
    assert torch.equal(logits > 0, original.low_res > 0)
    assert set(logits.unique().tolist()) == {-ARCHIVED_LOGIT, ARCHIVED_LOGIT}
    assert bank.archive.nbytes < 200


def fallen(bank: MemoryBank, frame: int, reach: MemoryReach) -> set[int]:
    """Tracked frames that neither `frame` nor a prompted one can read, by the rule."""
    anchors = (frame, *bank.conditioning)
    return {t for t in bank.tracked if min(abs(t - a) for a in anchors) > reach.pointer}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run", "jump", "prompt", "demote"]),
            st.integers(200, 260),
            st.sampled_from([1, -1]),
            st.integers(1, 25),
        ),
        max_size=8,
    )
)
def test_steps_release_what_a_full_search_would(
    history: list[tuple[str, int, int, int]],
) -> None:
    reach = replace(REACH, num_memories=4, max_pointers=8)
    bank = MemoryBank(conditioning={230: output()})
    frame = 230
    for what, place, step, count in history:
        if what == "prompt":
            bank.add_conditioning(place, output(place))
        elif what == "demote" and len(bank.conditioning) > 1:
            bank.demote_conditioning(next(iter(bank.conditioning)))
        frame = place if what == "jump" else frame
        for _ in range(count):
            frame += step
            if frame in bank.conditioning:
                continue
            archive_masks(bank.advance(frame, output(frame), reach))
            assert fallen(bank, frame, reach) == set()
            anchors = (frame, *bank.conditioning)
            for t, held in bank.tracked.items():
                near = min(abs(t - a) for a in anchors) <= reach.spatial
                assert (held.memory is not None) == near or t in bank.archive
                assert (held.low_res is None) == (t in bank.archive)
                assert held.low_res is None or held.memory is not None
            assert bank.tracked[frame].low_res is not None


def test_a_run_looks_only_at_what_falls_out_of_reach() -> None:
    class Watched(dict[int, FrameOutput]):
        searches = 0

        def __iter__(self) -> Iterator[int]:
            Watched.searches += 1
            return super().__iter__()

    bank = MemoryBank(conditioning={100: output()}, tracked=Watched())
    for frame in range(101, 180):
        archive_masks(bank.advance(frame, output(frame), REACH))
    assert Watched.searches == 1
    # around the prompt, and the last frame
    assert len(bank.archive) == 79 - REACH.spatial - 1


@pytest.mark.parametrize("step", [1, -1])
def test_logits_are_held_while_all_that_their_frame_has_read_is_held(
    step: int,
) -> None:
    start = 150
    bank = MemoryBank(conditioning={start: output()})
    for count in range(1, 60):
        frame = start + step * count
        archive_masks(bank.advance(frame, output(frame), REACH))
        for t, held in bank.tracked.items():
            nearest = range(t - step, t - step * (REACH.spatial + 1), -step)
            read = [u for u in nearest if step * (u - start) > 0]
            is_whole = all(
                u in bank.tracked and bank[u].memory is not None for u in (*read, t)
            )
            assert (held.low_res is not None) == is_whole
            assert (held.low_res is None) == (t in bank.archive)


def test_what_was_never_read_is_never_encoded() -> None:
    seen = Glimpse(torch.zeros(1, 8, 4, 6), torch.zeros(1, 1, 16, 24))
    unread = replace(output(1), memory=None, glimpse=seen)
    bank = MemoryBank(conditioning={100: output()})
    archive_masks(bank.advance(101, unread, REACH))
    assert bank.unencoded(102) == [101]
    assert bank.unencoded(101) == []
    # a run from elsewhere
    bank.conditioning.clear()
    archive_masks(bank.advance(150, unread, REACH))
    assert bank.unencoded(151) == [150]
    assert 101 in bank.archive
    assert 101 not in bank.tracked


def test_released_results_free_their_memory() -> None:
    bank = MemoryBank(conditioning={100: output()})
    memories = {}
    for frame in range(101, 140):
        result = output(frame)
        memories[frame] = weakref.ref(result.memory)
        archive_masks(bank.advance(frame, result, REACH))
        del result
    alive = [frame for frame, memory in memories.items() if memory() is not None]
    assert alive == [*range(101, 107), *range(133, 140)]


@pytest.mark.parametrize(("start", "step"), [(0, 1), (299, -1)])
def test_nothing_is_held_behind_the_end_of_the_video(start: int, step: int) -> None:
    bank = MemoryBank(conditioning={start: output()})
    frames = [start + step * count for count in range(1, 40)]
    for frame in frames:
        archive_masks(bank.advance(frame, output(frame), REACH))
    held = {t for t, result in bank.tracked.items() if result.memory is not None}
    assert held == set(frames[-REACH.num_memories :])
    assert set(bank.tracked) == set(frames[-REACH.max_pointers :])
