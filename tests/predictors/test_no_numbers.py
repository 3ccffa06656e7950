"""Where the network gives NaN: once more in float32, then that object alone stops."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_hqsam2 import FramePrompts, PointPrompt, Session, iter_stack
from napari_hqsam2.build import with_settings
from napari_hqsam2.errors import DeviceError
from napari_hqsam2.predictors import precision, video_predictor
from napari_hqsam2.predictors.batch_network import BatchNetwork
from napari_hqsam2.predictors.feature_loader import FeatureLoader

WAYS = {
    "whole": {"crop": "off"},
    "windows": {"crop": 64},
    "local": {"crop": "off", "tracking": "local"},
}
BAD = 2
"""The object of which there are no numbers."""


@pytest.fixture
def spoil(monkeypatch):
    """Lets searches for the bad object, counted from 1, give NaN where `when` says."""

    def put(when, field="low_res"):
        plain, calls = BatchNetwork.predict, []

        def predict(self, view, batch):
            found = plain(self, view, batch)
            rows = [row for row, each in enumerate(batch) if each.obj_id == BAD]
            if not self.single:
                calls.extend(rows)
            if rows and when(len(calls), self.single):
                values = getattr(found.prediction, field).clone()
                values[rows] = torch.nan
                found = replace(
                    found, prediction=replace(found.prediction, **{field: values})
                )
            return found

        monkeypatch.setattr(BatchNetwork, "predict", predict)

    return put


def followed(predictor, video, ways, more=()):
    """Area and scores by frame and object."""
    prompts = [
        FramePrompts((0,), n, points=(PointPrompt(12 * n, 20 * n),)) for n in (1, 2, 3)
    ]
    model = with_settings(predictor, tracking=ways.get("tracking"))
    results = iter_stack(
        video[:5],
        [*prompts, *more],
        model=model,
        axes="TYXC",
        direction="forward",
        **ways,
    )
    return {
        (result.position[0], item.obj_id): item
        for result in results
        for item in result.masks
    }


def assert_same(found, expected, keys):
    for key in keys:
        # a batch of another size rounds differently
        assert found[key].area == pytest.approx(expected[key].area, abs=4)
        assert found[key].iou_score == pytest.approx(expected[key].iou_score, abs=1e-4)


@pytest.mark.parametrize(
    ("way", "field"),
    [
        ("whole", "low_res"),
        ("whole", "iou_score"),
        ("whole", "pointer"),
        ("windows", "object_score"),
        ("local", "low_res"),
    ],
)
def test_numbers_in_single_precision_are_taken(predictor, video, spoil, way, field):
    ways = WAYS[way]
    expected = followed(predictor, video, ways)
    spoil(lambda call, single: call == 3 and not single, field)
    found = followed(predictor, video, ways)
    assert found.keys() == expected.keys()
    assert_same(found, expected, expected)


@pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS)
def test_only_the_bad_object_stops(predictor, video, spoil, ways, caplog):
    expected = followed(predictor, video, ways)
    spoil(lambda call, _: call >= 3)
    found = followed(predictor, video, ways)
    last = max(frame for frame, obj_id in found if obj_id == BAD)
    assert 0 < last < 4
    bad = found[last, BAD]
    assert math.isnan(bad.object_score)
    assert bad.area == 0
    good = [(t, n) for t, n in expected if n != BAD or t < last]
    assert found.keys() == {*good, (last, BAD)}
    for key in good:
        assert found[key].iou_score == pytest.approx(expected[key].iou_score, abs=1e-4)
    assert caplog.text.count("no numbers (NaN) for object 2") == 1


@pytest.mark.parametrize("ways", WAYS.values(), ids=WAYS)
def test_it_is_followed_again_from_its_next_prompt(predictor, video, spoil, ways):
    spoil(lambda call, _: call == 2)
    again = FramePrompts((4,), BAD, points=(PointPrompt(24, 40),))
    found = followed(predictor, video, ways, [again])
    assert sorted(t for t, n in found if n == BAD) == [0, 1, 2, 4]
    assert math.isnan(found[2, BAD].object_score)
    assert not math.isnan(found[4, BAD].object_score)


def test_features_are_computed_anew(predictor, video, monkeypatch):
    expected = followed(predictor, video, WAYS["whole"])
    plain = FeatureLoader.encode

    def encode(self, image, *, single=False):
        features = plain(self, image, single=single)
        if single:
            return features
        return replace(features, embedding=features.embedding * torch.nan)

    monkeypatch.setattr(FeatureLoader, "encode", encode)
    found = followed(predictor, video, WAYS["whole"])
    assert found.keys() == expected.keys()
    assert_same(found, expected, expected)


def test_prompts_without_numbers_are_an_error(predictor, video, monkeypatch):
    head = predictor.model.sam_mask_decoder.iou_prediction_head
    monkeypatch.setattr(head, "forward", lambda x: torch.full((len(x), 4), torch.nan))
    with pytest.raises(DeviceError, match=r"no numbers \(NaN\) for object 1"):
        followed(predictor, video, WAYS["whole"])


def test_a_session_doubts_it_and_keeps_its_labels(predictor, video, spoil, tmp_path):
    session = Session(video[:5], axes="TYXC", model=predictor, crop="off")
    for n in (1, 2, 3):
        session.new_object()
        session.add_points(n, [(0, 12 * n, 20 * n)])
    assert len(list(session.propagate("T"))) == 5
    before = np.array(session.labels)
    spoil(lambda call, _: call == 3)
    assert len(list(session.propagate("T"))) == 5
    doubts = [d for d in session.doubtful() if d.reason == "no numbers"]
    assert [(d.position, d.obj_id) for d in doubts] == [((3,), BAD)]
    after = np.array(session.labels)
    assert np.array_equal(after == BAD, before == BAD)
    session.export(tmp_path / "tracks.csv")
    assert "nan" not in (tmp_path / "tracks.csv").read_text().lower()
    session.save(tmp_path / "saved")
    again = Session.load(tmp_path / "saved", video[:5], model=predictor)
    found = [d for d in again.doubtful() if d.reason == "no numbers"]
    assert [(d.position, d.obj_id) for d in found] == [((3,), BAD)]


def test_single_precision_after_bfloat16(predictor, video, spoil, monkeypatch):
    for module in (precision, video_predictor):
        monkeypatch.setattr(module, "compute_dtype", lambda _: torch.bfloat16)
    expected = followed(predictor, video, WAYS["whole"])
    types = []
    plain = predictor.model.predict_objects

    def predict(fused, *arguments, **options):
        types.append(torch.is_autocast_enabled("cpu"))
        return plain(fused, *arguments, **options)

    monkeypatch.setattr(predictor.model, "predict_objects", predict)
    spoil(lambda call, single: call == 3 and not single)
    found = followed(predictor, video, WAYS["whole"])
    assert types.count(False) == 1
    assert found.keys() == expected.keys()
    for key, item in expected.items():
        assert found[key].iou_score == pytest.approx(item.iou_score, abs=0.1)
