"""Where memory runs out: smaller batches, then features elsewhere, then an error.

The device is a fake: calls of the network fail as those on a GPU without memory do.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from napari_hqsam2.errors import DeviceMemoryError
from napari_hqsam2.predictors.feature_cache import FeatureCache

PARTS = ("encode_image", "attend_frame", "fuse_memory", "predict_objects")
PARTS += ("encode_memory",)


class Memory:
    """Lets calls of one part of a network fail.

    Parameters
    ----------
    failing
        Whether a call fails, given its number and whether features are kept elsewhere.
    """

    def __init__(self, failing):
        self.failing = failing
        self.calls = 0
        self.session = None

    def wrapped(self, part):
        def call(*arguments, **options):
            self.calls += 1
            session = self.session
            is_elsewhere = session is not None and session.features.is_on_host
            if self.failing(self.calls, is_elsewhere):
                msg = "CUDA out of memory. Tried to allocate 2 GiB."
                raise torch.OutOfMemoryError(msg)
            return part(*arguments, **options)

        return call


@pytest.fixture
def as_accelerator(monkeypatch):
    """Let caches make room as on an accelerator."""
    make_room = FeatureCache.make_room
    monkeypatch.setattr(
        FeatureCache,
        "make_room",
        lambda self, _: make_room(self, torch.device("cuda")),
    )


def tracked(predictor, video, memory=None):
    """Logits of four objects on all frames, and the session."""
    session = predictor.init_state(video[:5])
    if memory is not None:
        memory.session = session
    prompt(predictor, session)
    return run(predictor, session), session


def prompt(predictor, session):
    for obj_id in range(1, 5):
        predictor.add_new_points_or_box(
            session, obj_id % 2, obj_id, [[9 * obj_id, 9]], [1]
        )


def run(predictor, session):
    return {
        frame: logits.numpy().copy()
        for frame, _, logits in predictor.propagate_in_video(session)
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for frame, logits in expected.items():
        np.testing.assert_allclose(found[frame], logits, atol=1e-3)


@pytest.mark.parametrize("part", PARTS)
def test_every_call_may_fail_once(predictor, video, monkeypatch, as_accelerator, part):
    expected, _ = tracked(predictor, video)
    count = Memory(lambda *_: False)
    plain = getattr(predictor.model, part)
    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, part, count.wrapped(plain))
        tracked(predictor, video, count)
    assert count.calls > 3
    for bad in range(1, count.calls + 1, 4):
        memory = Memory(lambda call, *_, bad=bad: call == bad)
        with monkeypatch.context() as patch:
            patch.setattr(predictor.model, part, memory.wrapped(plain))
            found, _ = tracked(predictor, video, memory)
        assert_same(found, expected)


def test_the_last_rung_is_features_elsewhere(
    predictor, video, monkeypatch, as_accelerator
):
    expected, _ = tracked(predictor, video)
    memory = Memory(lambda call, is_elsewhere: call > 2 and not is_elsewhere)
    plain = predictor.model.fuse_memory
    monkeypatch.setattr(predictor.model, "fuse_memory", memory.wrapped(plain))
    found, session = tracked(predictor, video, memory)
    assert session.features.is_on_host
    assert_same(found, expected)


@pytest.mark.parametrize("part", PARTS)
def test_no_memory_at_all_is_an_error_that_changes_nothing(
    predictor, video, monkeypatch, as_accelerator, part
):
    expected, _ = tracked(predictor, video)
    session, works = predictor.init_state(video[:5]), []
    memory = Memory(lambda *_: True)
    with monkeypatch.context() as patch:
        plain = getattr(predictor.model, part)
        patch.setattr(predictor.model, part, memory.wrapped(plain))
        for action in (prompt, run):
            try:
                action(predictor, session)
                works.append(action)
            except DeviceMemoryError as error:
                message = str(error)
                break
    assert re.search(r"of .* are free.*resolution=512", message)
    if prompt not in works:
        prompt(predictor, session)
    assert_same(run(predictor, session), expected)


def test_a_processor_drops_what_it_keeps(predictor, video, monkeypatch):
    expected, _ = tracked(predictor, video)
    memory = Memory(lambda call, *_: call == 3)
    plain = predictor.model.encode_image
    monkeypatch.setattr(predictor.model, "encode_image", memory.wrapped(plain))
    found, session = tracked(predictor, video, memory)
    assert not session.features.is_on_host
    assert_same(found, expected)
