"""Names, overrides, devices, and Hydra's global state."""

from __future__ import annotations

import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.utils import instantiate

from napari_hqsam2.build import (
    build_sam2,
    build_sam2_hq_video_predictor,
    build_sam2_video_predictor,
    compose_config,
    model_name,
    resolve_device,
    with_settings,
)
from napari_hqsam2.weights.registry import REGISTRY, get

NANO = "sam2.1_hq_hiera_nano"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("configs/sam2.1/sam2.1_hq_hiera_l.yaml", "sam2.1_hq_hiera_large"),
        ("configs/sam2.1/sam2.1_hiera_b+.yaml", "sam2.1_hiera_base_plus"),
        ("sam2.1/sam2.1_hiera_s.yaml", "sam2.1_hiera_small"),
        ("sam2.1_hiera_t.yaml", "sam2.1_hiera_tiny"),
        ("sam2.1_hiera_t", "sam2.1_hiera_tiny"),
        ("sam2.1_hq_hiera_base_plus", "sam2.1_hq_hiera_base_plus"),
        (NANO, NANO),
    ],
)
def test_names(given: str, name: str) -> None:
    assert model_name(given) == name
    assert compose_config(name).model.image_size in (512, 1024)


@pytest.mark.parametrize("bad", ["sam2.1_hiera_huge", "sam2_hiera_l.yaml", ""])
def test_unknown_names_list_what_there_is(bad: str) -> None:
    with pytest.raises(ValueError, match=r"sam2\.1_\[hq_\]hiera_base_plus"):
        model_name(bad)


def test_an_applications_hydra_is_left_alone() -> None:
    assert not GlobalHydra.instance().is_initialized()
    compose_config(NANO)
    assert not GlobalHydra.instance().is_initialized()
    with initialize_config_module("napari_hqsam2.configs", version_base="1.3"):
        held = GlobalHydra.instance().hydra
        compose_config("sam2.1_hiera_tiny")
        with pytest.raises(Exception, match="no_such_group"):
            compose_config(NANO, ["no_such_group=1"])
        assert GlobalHydra.instance().hydra is held
        assert compose("model").model.image_size == 1024


def test_overrides_under_upstreams_names_and_ours() -> None:
    predictor = build_sam2_video_predictor(
        NANO,
        device="cpu",
        hydra_overrides_extra=[
            "++model.max_cond_frames_in_attn=4",
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_thresh=0.9",
            "model.image_size=256",
        ],
    )
    assert predictor.config.max_cond_frames_in_attn == 4
    assert predictor.config.fill_hole_area == 8
    assert predictor.config.binarize_mask_from_pts_for_mem_enc
    assert predictor.model.sam_mask_decoder.stability.threshold == 0.9
    assert predictor.image_size == 256


@pytest.mark.parametrize(("value", "has_fallback"), [("true", True), ("False", False)])
def test_upstreams_switch_of_the_stability_fallback(value, has_fallback) -> None:
    model = build_sam2(
        NANO,
        device="cpu",
        hydra_overrides_extra=[
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_via_stability="
            + value,
            "++model.sam_mask_decoder_extra_args.dynamic_multimask_stability_delta=0.1",
        ],
    )
    assert (model.sam_mask_decoder.stability is not None) == has_fallback
    assert not has_fallback or model.sam_mask_decoder.stability.delta == 0.1


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("++model.sigmoid_scale_for_mem_enc=10", "sigmoid_scale_for_mem_enc"),
        ("model.nonsense=3", "'nonsense' is not in struct"),
        ("garbage", "'garbage'. Each is KEY=VALUE"),
        ("++model.max_cond_frames_in_attn=1", "at least 2, got 1"),
        ("++model.image_size=500", "500 is not a multiple of 32"),
    ],
)
def test_impossible_overrides_are_refused(override: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        build_sam2_video_predictor(NANO, device="cpu", hydra_overrides_extra=[override])
    is_known = "image_size" in override
    assert is_known or "model.num_maskmem" in str(caught.value)


def test_without_postprocessing() -> None:
    predictor = build_sam2_hq_video_predictor(NANO, None, "cpu", "eval", [], False)
    assert predictor.config.fill_hole_area == 0
    assert not predictor.config.binarize_mask_from_pts_for_mem_enc
    assert predictor.model.sam_mask_decoder.stability is None
    model = build_sam2(NANO, device="cpu", apply_postprocessing=False, mode="train")
    assert model.sam_mask_decoder.stability is None
    assert model.training


def test_options_of_speed() -> None:
    predictor = build_sam2_hq_video_predictor(
        NANO, device="cpu", tracking="local", max_batch=3, resolution=128
    )
    assert (predictor.config.tracking, predictor.config.max_batch) == ("local", 3)
    assert predictor.image_size == 128
    plain = build_sam2_video_predictor(NANO, device="cpu")
    assert (plain.config.tracking, plain.config.max_batch) == ("exact", None)
    assert plain.image_size == 512
    assert build_sam2(NANO, device="cpu", resolution=96).image_size == 96


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        ({"tracking": "fast"}, ValueError, "'exact' or 'local', got 'fast'"),
        ({"resolution": 500}, ValueError, "resolution=500 is not a multiple of 32"),
        ({"max_batch": 0}, ValueError, "at least 1, got 0"),
        ({"speed": 9}, TypeError, "Unknown options speed; there are fill_hole_area,"),
    ],
)
def test_impossible_options_are_refused(options, error, problem) -> None:
    with pytest.raises(error, match=problem):
        build_sam2_video_predictor(NANO, device="cpu", **options)


@pytest.mark.parametrize("word", ["compile", "vos_optimized"])
def test_compiling_is_asked_for_under_both_names(word, monkeypatch) -> None:
    models = []
    monkeypatch.setattr("napari_hqsam2.build.compile_model", models.append)
    predictor = build_sam2_video_predictor(NANO, device="cpu", **{word: True})
    assert models == [predictor.model]
    assert build_sam2(NANO, device="cpu", compile=True) is models[1]
    build_sam2_video_predictor(NANO, device="cpu", **{word: False})
    assert len(models) == 2


def test_other_settings_share_the_weights() -> None:
    predictor = build_sam2_video_predictor(NANO, device="cpu", fill_hole_area=3)
    same = with_settings(predictor, tracking="exact", resolution=512)
    assert same is predictor
    assert with_settings(predictor) is predictor
    other = with_settings(predictor, tracking="local", resolution=256)
    assert (other.config.tracking, other.image_size) == ("local", 256)
    assert other.config.fill_hole_area == 3
    assert (predictor.config.tracking, predictor.image_size) == ("exact", 512)
    own = dict(predictor.model.named_parameters())
    assert all(own[name] is p for name, p in other.model.named_parameters())
    with pytest.raises(ValueError, match="use 288"):
        with_settings(predictor, resolution=300)


def test_hq_builder_refuses_plain_models() -> None:
    with pytest.raises(ValueError, match=r"Use sam2\.1_hq_hiera_tiny"):
        build_sam2_hq_video_predictor("sam2.1_hiera_tiny")


def test_devices() -> None:
    assert resolve_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="Unknown device 'warp'"):
        resolve_device("warp")
    assert resolve_device("auto").type in ("cpu", "cuda", "mps")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="CUDA is not available"):
            resolve_device("cuda")


@pytest.mark.parametrize("name", REGISTRY)
def test_the_registry_knows_who_is_followed_from_both_sides(name: str) -> None:
    policy = instantiate(compose_config(name).tracking)
    assert policy.moves_masks == get(name).two_sided
