"""The same session in our predictor and in the PyPI package sam2, on the same machine.

Our arithmetic is upstream's, rearranged: it rounds otherwise, and the formula weights
amplify a difference from frame to frame, within a session a hundred million times. In
float64 next to nothing is left to amplify, so whole sessions must agree closely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

from napari_hqsam2.build import build_sam2, build_sam2_video_predictor
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import ModuleType

SIZE, FRAMES, SEED = 256, 8, 1
TOLERANCE = 1e-4
NAME, CONFIG = "sam2.1_hiera_tiny", "configs/sam2.1/sam2.1_hiera_t.yaml"
OVERRIDES = [f"model.image_size={SIZE}"]

pytestmark = [
    pytest.mark.parity,
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def sam2_build() -> Iterator[ModuleType]:
    """``sam2.build_sam``, whose import takes over Hydra's global state for good."""
    held = GlobalHydra.instance().hydra
    build = pytest.importorskip("sam2.build_sam", reason="make reference installs it")
    yield build
    GlobalHydra.instance().hydra = held


@pytest.fixture
def in_double(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let whoever asks for single precision get double."""
    for name in ("bfloat16", "float32", "float"):
        monkeypatch.setattr(torch, name, torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    yield
    monkeypatch.undo()
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def upstream(
    in_double: None,
    sam2_build: ModuleType,
    formula: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    """Upstream's video predictor on arrays, with memories stored in full."""
    del in_double
    module = pytest.importorskip("sam2.sam2_video_predictor")
    # one rounding to float32 that ours has in any case
    frames = formula.frames(FRAMES, SIZE, SEED).astype(np.float32) / np.float32(255)
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    images = (torch.from_numpy(frames).permute(0, 3, 1, 2) - mean) / std

    def load(**_: object) -> tuple[torch.Tensor, int, int]:
        return images, SIZE, SIZE

    monkeypatch.setattr(module, "load_video_frames", load)
    predictor = sam2_build.build_sam2_video_predictor(
        CONFIG, device="cpu", hydra_overrides_extra=OVERRIDES
    )
    predictor.fill_hole_area = 0
    return predictor


def interactive_session(
    predictor: Any, session: Any, formula: ModuleType
) -> dict[str, np.ndarray]:
    """Prompts of every kind, both directions, corrections, objects that come and go."""
    centres = formula.disc_centres(FRAMES, SIZE, SEED)
    one = np.array([1], np.int32)
    out: dict[str, np.ndarray] = {}

    def keep(name: str, ids: Any, masks: torch.Tensor) -> None:
        for obj_id, mask in zip(ids, masks, strict=True):
            out[f"{name}.{obj_id}"] = mask.double().numpy().copy()

    def prompt(name: str, frame: int, obj_id: int, **how: Any) -> None:
        _, ids, masks = predictor.add_new_points_or_box(
            session, frame_idx=frame, obj_id=obj_id, **how
        )
        keep(name, ids, masks)

    def propagate(name: str, **how: Any) -> None:
        for frame, ids, masks in predictor.propagate_in_video(session, **how):
            keep(f"{name}.{frame}", ids, masks)

    prompt("click", 2, 7, points=centres[2, :1], labels=one)
    propagate("forward", start_frame_idx=2)
    propagate("reverse", start_frame_idx=2, reverse=True)
    prompt(
        "correction",
        4,
        7,
        points=centres[4, [0, 3]],
        labels=np.array([1, 0], np.int32),
        clear_old_points=False,
    )
    yy, xx = np.mgrid[:SIZE, :SIZE]
    disc = (xx - centres[3, 1, 0]) ** 2 + (yy - centres[3, 1, 1]) ** 2 < 20**2
    _, ids, masks = predictor.add_new_mask(session, frame_idx=3, obj_id=9, mask=disc)
    keep("mask", ids, masks)
    box = np.concatenate([centres[5, 2] - 25, centres[5, 2] + 25])
    prompt("box", 5, 4, box=box)
    propagate("again", start_frame_idx=2)
    predictor.clear_all_prompts_in_frame(session, 5, 4)
    prompt("second", 1, 4, points=centres[1, 2:3], labels=one)
    predictor.remove_object(session, 7)
    propagate("late", start_frame_idx=6, reverse=True)
    return out


@pytest.mark.parametrize("in_view", [3.0, -0.3])
def test_whole_session(
    in_view: float, upstream: Any, formula: ModuleType, scenarios: ModuleType
) -> None:
    """`in_view` moves the object score, so that tracked objects vanish and return."""
    ours = build_sam2_video_predictor(
        NAME, device="cpu", hydra_overrides_extra=OVERRIDES, fill_hole_area=0
    )
    for predictor in (upstream, ours):
        scenarios.load_formula_weights(predictor, SEED)
        weights = predictor.state_dict()
        weights["sam_mask_decoder.pred_obj_score_head.layers.2.bias"].fill_(in_view)
    frames = formula.frames(FRAMES, SIZE, SEED)
    expected = interactive_session(upstream, upstream.init_state("array"), formula)
    got = interactive_session(ours, ours.init_state(frames), formula)
    assert got.keys() == expected.keys()
    assert len(got) > 40
    tracked = [mask for key, mask in got.items() if key.startswith("again")]
    assert any((mask == -1024).all() for mask in tracked) == (in_view < 0)
    for key, value in expected.items():
        assert np.abs(got[key] - value).max() <= TOLERANCE, key


def test_images_of_any_size(
    sam2_build: ModuleType, formula: ModuleType, scenarios: ModuleType
) -> None:
    module = pytest.importorskip("sam2.sam2_image_predictor")
    theirs = sam2_build.build_sam2(CONFIG, device="cpu")
    ours = build_sam2(NAME, device="cpu")
    image = formula.frames(1, 700, SEED)[0, 50:530]
    point, label = np.array([[300.0, 200.0]]), np.array([1])
    results = []
    for predictor in (module.SAM2ImagePredictor(theirs), SAM2ImagePredictor(ours)):
        scenarios.load_formula_weights(predictor.model, SEED)
        predictor.set_image(image)
        results.append(
            [
                predictor.predict(point, label, return_logits=True),
                predictor.predict(box=np.array([100, 90, 400, 380])),
            ]
        )
    for expected, got in zip(*results, strict=True):
        for reference, value in zip(expected, got, strict=True):
            assert value.shape == reference.shape
            assert np.abs(value.astype(float) - reference).max() <= 1e-3


def test_a_folder_of_frames_of_any_size(
    sam2_build: ModuleType,
    formula: ModuleType,
    scenarios: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Upstream's own loader resizes the frames."""
    height, width = 101, 175
    for index, frame in enumerate(formula.frames(2, width, SEED)):
        Image.fromarray(frame[:height]).save(tmp_path / f"{index:05d}.jpg", quality=95)
    theirs = sam2_build.build_sam2_video_predictor(
        CONFIG, device="cpu", hydra_overrides_extra=OVERRIDES
    )
    theirs.fill_hole_area = 0
    ours = build_sam2_video_predictor(
        NAME, device="cpu", hydra_overrides_extra=OVERRIDES, fill_hole_area=0
    )
    # upstream stores memories at half precision, ours in full on a CPU
    monkeypatch.setattr(torch, "bfloat16", torch.float32)
    results = []
    for predictor in (theirs, ours):
        scenarios.load_formula_weights(predictor, SEED)
        session = predictor.init_state(str(tmp_path))
        point = formula.disc_centres(1, width, SEED)[0, :1].clip(max=height - 1)
        predictor.add_new_points_or_box(session, 0, 1, points=point, labels=[1])
        predictor.add_new_points_or_box(session, 0, 2, box=[20, 10, 150, 90])
        mask = np.zeros((height, width), bool)
        mask[30:60, 100:160] = True
        predictor.add_new_mask(session, 0, 3, mask)
        results.append(list(predictor.propagate_in_video(session)))
    for (_, ids, reference), (_, got_ids, got) in zip(*results, strict=True):
        assert got_ids == ids == [1, 2, 3]
        assert got.shape == reference.shape == (3, 1, height, width)
        assert (got - reference).abs().quantile(0.99) <= 2e-3
