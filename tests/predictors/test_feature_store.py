"""Image features that later sessions find on the disk."""

from __future__ import annotations

import logging
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from napari_hqsam2 import FramePrompts, PointPrompt, segment_image
from napari_hqsam2.api import load_model
from napari_hqsam2.automatic import ProposalSettings, segment_everything
from napari_hqsam2.build import with_settings
from napari_hqsam2.modeling.outputs import ImageFeatures
from napari_hqsam2.predictors import feature_store as module
from napari_hqsam2.predictors.feature_store import FeatureStore, feature_store
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt


def stored(predictor: SAM2VideoPredictor, folder: Path) -> SAM2VideoPredictor:
    """As if the process were a new one."""
    store = FeatureStore(folder, predictor.model, "a model")
    return SAM2VideoPredictor(predictor.model, predictor.config, store=store)


def features(predictor: SAM2VideoPredictor, video: npt.NDArray, frame: int = 0):
    return predictor.loader.features(predictor.init_state(video), frame)


def tensors(found: ImageFeatures) -> tuple[torch.Tensor, ...]:
    return (found.embedding, *found.high_res)


@pytest.fixture
def encoded(predictor, monkeypatch):
    """Counts the images that are encoded."""
    seen = []
    encode = predictor.model.encode_image

    def counted(image):
        seen.append(image)
        return encode(image)

    monkeypatch.setattr(predictor.model, "encode_image", counted)
    return seen


def test_a_later_session_need_not_encode(predictor, video, tmp_path, encoded):
    plain = features(predictor, video)
    first = features(stored(predictor, tmp_path), video)
    assert len(encoded) == 2
    again = features(stored(predictor, tmp_path), video)
    assert len(encoded) == 2
    for one, other, third in zip(*map(tensors, (plain, first, again)), strict=True):
        assert torch.equal(one, other)
        assert torch.equal(one, third)
        assert one.dtype == third.dtype


def test_another_frame_contrast_or_model_is_computed(
    predictor, video, tmp_path, encoded
):
    features(stored(predictor, tmp_path), video)
    features(stored(predictor, tmp_path), video, frame=1)
    features(stored(predictor, tmp_path), 255 - video)
    assert len(encoded) == 3
    renamed = FeatureStore(tmp_path, predictor.model, "another model")
    features(SAM2VideoPredictor(predictor.model, store=renamed), video)
    assert len(encoded) == 4


def test_other_parameters_have_other_names(predictor, tmp_path):
    image = torch.zeros(1, 3, 32, 32)
    before = FeatureStore(tmp_path, predictor.model, "m").key(image)
    weight = next(predictor.model.parameters())
    old = weight.detach().clone()
    with torch.no_grad():
        weight.flatten()[0] += 1
    after = FeatureStore(tmp_path, predictor.model, "m").key(image)
    with torch.no_grad():
        weight.copy_(old)
    assert before != after
    assert before == FeatureStore(tmp_path, predictor.model, "m").key(image)


@pytest.mark.parametrize("damage", ["flipped", "cut", "emptied"])
def test_damaged_files_are_computed_anew(
    predictor, video, tmp_path, encoded, caplog, damage
):
    features(stored(predictor, tmp_path), video)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    kept = {"flipped": len(content), "cut": len(content) // 2, "emptied": 0}[damage]
    path.write_bytes(content[:kept])
    features(stored(predictor, tmp_path), video)
    assert len(encoded) == 2
    assert "damaged" in caplog.text
    features(stored(predictor, tmp_path), video)
    assert len(encoded) == 2


def some_features(value: float) -> ImageFeatures:
    return ImageFeatures(torch.full((1, 256), value), (torch.ones(1), torch.ones(1)))


def test_the_least_recently_used_go_first(predictor, tmp_path):
    store = FeatureStore(tmp_path, predictor.model, "m")
    store.put("a", some_features(1))
    (path,) = tmp_path.iterdir()
    store.budget = 3 * path.stat().st_size
    for age, key in enumerate(("b", "c"), start=1):
        store.put(key, some_features(age))
    for age, key in enumerate("cba"):
        (path,) = tmp_path.glob(f"{key}-*")
        os.utime(path, (1000 - age, 1000 - age))
    assert store.get("a") is not None  # the oldest one is used again
    store.put("d", some_features(9))
    assert {path.name[0] for path in tmp_path.iterdir()} == {"a", "c", "d"}
    assert store.get("b") is None


def test_a_disk_that_fails_is_told_once(predictor, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    store = FeatureStore(tmp_path / "file", predictor.model, "m")
    with caplog.at_level(logging.WARNING):
        store.put("a", some_features(1))
        store.put("b", some_features(1))
    assert caplog.text.count("are not kept") == 1
    assert store.get("a") is None


def test_a_full_disk_is_left_alone(predictor, tmp_path, monkeypatch):
    usage = SimpleNamespace(free=module.LEFT_FREE)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: usage)
    store = FeatureStore(tmp_path, predictor.model, "m")
    store.put("a", some_features(1))
    assert not list(tmp_path.iterdir())


def test_new_parameters_and_other_settings(predictor, tmp_path):
    mine = stored(predictor, tmp_path)
    other = with_settings(mine, tracking="local")
    assert other.loader.store is mine.loader.store
    mine.load_state_dict(mine.state_dict())
    assert mine.loader.store is None


def slow_model(count: int, kind: str = "cpu") -> SimpleNamespace:
    parameter = SimpleNamespace(numel=lambda: count)
    return SimpleNamespace(
        device=SimpleNamespace(type=kind), parameters=lambda: [parameter]
    )


def test_only_what_is_slow_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_HQSAM2_CACHE", str(tmp_path))
    monkeypatch.delenv(module.BYTES_VARIABLE, raising=False)
    assert feature_store(slow_model(7_000_000), "nano") is None
    assert feature_store(slow_model(39_000_000, "cuda"), "tiny") is None
    store = feature_store(slow_model(39_000_000), "tiny")
    assert store is not None
    assert store.folder == tmp_path / "features"
    monkeypatch.setenv(module.BYTES_VARIABLE, "0")
    assert feature_store(slow_model(39_000_000), "tiny") is None
    monkeypatch.setenv(module.BYTES_VARIABLE, "4 GB")
    with pytest.raises(ValueError, match=r"4 GB.*number of bytes"):
        feature_store(slow_model(39_000_000), "tiny")


def test_models_that_are_loaded_by_name_keep_theirs(video, tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_HQSAM2_CACHE", str(tmp_path))
    monkeypatch.delenv(module.BYTES_VARIABLE, raising=False)
    monkeypatch.setattr(module, "SLOW_PARAMETERS", 1)
    for _ in range(2):
        features(load_model(device="cpu", resolution=64), video)
        assert len(list((tmp_path / "features").iterdir())) == 1


def test_images_and_searches_keep_theirs(predictor, video, tmp_path, encoded):
    image, click = video[0, :40, :40, 0], FramePrompts((), 1, (PointPrompt(9, 9),))
    settings = ProposalSettings(points_per_side=2, min_iou_score=0, min_stability=0)
    found = []
    for _ in range(2):
        model = stored(predictor, tmp_path)
        labels = segment_image(image, [click], model=model)
        everything = segment_everything(image, model=model, settings=settings)
        found.append((labels, everything))
        assert len(encoded) == len(list(tmp_path.iterdir())) == 2
    assert found[0][0].any()
    np.testing.assert_array_equal(found[0], found[1])


def test_files_that_cannot_be_read_are_computed_anew(predictor, tmp_path, caplog):
    store = FeatureStore(tmp_path, predictor.model, "m")
    (tmp_path / "a-0.safetensors").mkdir()
    assert store.get("a") is None
    assert "cannot be read" in caplog.text
