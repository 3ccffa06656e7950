"""A session whose device fails goes on with what it had."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_hqsam2 import Session
from napari_hqsam2.errors import DeviceError

OUT_OF_MEMORY = "CUDA out of memory. Tried to allocate 2 GiB."


def raise_out_of_memory(*_, **__):
    raise torch.OutOfMemoryError(OUT_OF_MEMORY)


@pytest.mark.parametrize("where", ["encode_image", "predict_objects"])
def test_a_click_without_memory(session, predictor, monkeypatch, where):
    one = session.new_object()
    session.add_points(one, [(0, 10, 10)])
    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, where, raise_out_of_memory)
        with pytest.raises(DeviceError, match="not enough memory"):
            session.segment(0)
    assert not session.labels.any()
    assert session.undo_names[0] == "add points"
    (scores,) = session.segment(0)
    assert np.count_nonzero(session.labels) == scores.area


def test_a_run_without_memory_keeps_its_frames(session, predictor, monkeypatch):
    one = session.new_object()
    session.add_points(one, [(0, 10, 10)])
    run = session.propagate("T")
    done = [next(run).frame for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(predictor.model, "fuse_memory", raise_out_of_memory)
        with pytest.raises(DeviceError, match="memory"):
            next(run)
    assert done == [0, 1, 2]
    assert {s.position for s in session.scores(one)} == {(0,), (1,), (2,)}
    assert session.undo_names[0] == "propagate"
    assert len(list(session.propagate("T"))) == 6


def test_what_is_no_number_is_no_result(stack, predictor, tmp_path, monkeypatch):
    session = Session(stack, axes="TYX", model=predictor)
    session.autosave(tmp_path / "saved")
    one = session.new_object()
    session.add_points(one, [(0, 10, 10)])
    head = predictor.model.sam_mask_decoder.iou_prediction_head
    with monkeypatch.context() as patch:
        patch.setattr(head, "forward", lambda x: torch.full((len(x), 4), torch.nan))
        with pytest.raises(DeviceError, match=r"no numbers \(NaN\) for object 1"):
            session.segment(0)
    assert not session.labels.any()
    assert session.scores(one) == ()
    session.segment(0)
    again = Session.load(tmp_path / "saved", stack, model=predictor)
    assert again.scores(one) == session.scores(one)
