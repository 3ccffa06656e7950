"""Build models and predictors from names; the only module that knows Hydra."""

from __future__ import annotations

import copy
import re
import threading
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import instantiate

from napari_hqsam2.configs.resolution import check_resolution
from napari_hqsam2.configs.upstream_keys import (
    MOVED_OVERRIDES,
    STABILITY_SWITCH,
    moved,
    stability_switch,
)
from napari_hqsam2.predictors.compilation import compile_model
from napari_hqsam2.predictors.device_errors import check_works, has_failed
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.weights.state_dict import load_weights

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from os import PathLike

    from omegaconf import DictConfig

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.tracking_config import TrackingConfig, TrackingMode

SIZES = {"t": "tiny", "s": "small", "b+": "base_plus", "l": "large"}
"""Letters in upstream's config file names."""
TRUNKS = (*SIZES.values(), "nano")
NAME = re.compile(
    r"(?:configs/)?(?:sam2\.1/)?sam2\.1_(?P<hq>hq_)?hiera_(?P<size>[a-z_+]+?)(?:\.yaml)?"
)
_hydra_lock = threading.Lock()


def model_name(config_file: str) -> str:
    """Short name of a model from a short name or an upstream config path.

    Examples
    --------
    >>> model_name("configs/sam2.1/sam2.1_hq_hiera_l.yaml")
    'sam2.1_hq_hiera_large'
    """
    match = NAME.fullmatch(config_file)
    size = SIZES.get(match["size"], match["size"]) if match else None
    if match is None or size not in TRUNKS:
        choices = ", ".join(f"sam2.1_[hq_]hiera_{trunk}" for trunk in TRUNKS)
        msg = (
            f"Unknown model {config_file!r}. Use {choices}, or an upstream config path "
            "such as configs/sam2.1/sam2.1_hq_hiera_l.yaml."
        )
        raise ValueError(msg)
    return f"sam2.1_{match['hq'] or ''}hiera_{size}"


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Device to compute on; "auto" takes CUDA, then MPS, then the CPU.

    Raises
    ------
    ValueError
        If a device is asked for that this machine does not have.
    DeviceError
        If it has failed in this process.
    """
    if str(device) != "auto":
        try:
            chosen = torch.device(device)
        except RuntimeError as error:
            msg = f"Unknown device {device!r}; use 'auto', 'cpu', 'cuda' or 'mps'."
            raise ValueError(msg) from error
        if chosen.type == "cuda" and not torch.cuda.is_available():
            msg = (
                f"Device {str(device)!r} was asked for, but CUDA is not available "
                "here; use 'auto' or 'cpu'."
            )
            raise ValueError(msg)
        check_works(chosen)
        return chosen
    if torch.cuda.is_available() and not has_failed(torch.device("cuda")):
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def _explained(overrides: Sequence[str]) -> Iterator[None]:
    """Turn what Hydra says about impossible overrides into a ValueError that teaches.

    Raises
    ------
    ValueError
        If there are overrides, and Hydra fails.
    """
    try:
        yield
    except HydraException as error:
        if not overrides:
            raise
        understood = ", ".join((*MOVED_OVERRIDES, STABILITY_SWITCH, "model.image_size"))
        cause, _, _ = str(error.__cause__ or error).partition("\n")
        msg = (
            f"hydra_overrides_extra={list(overrides)} cannot be used: {cause}. Each is "
            f"KEY=VALUE. Of upstream's keys these are understood: {understood}; all "
            "others are in the package's configs/model.yaml."
        )
        raise ValueError(msg) from error


@contextmanager
def _own_hydra() -> Iterator[None]:
    """Hydra with our configuration; an application's own Hydra waits untouched."""
    with _hydra_lock:
        held, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
        try:
            with initialize_config_module("napari_hqsam2.configs", version_base="1.3"):
                yield
        finally:
            # Hydra may have put another instance in place
            GlobalHydra.instance().hydra = held


def compose_config(name: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose a model's configuration; Hydra's global state is left as found.

    Raises
    ------
    ValueError
        If the overrides are impossible.
    """
    decoder = "hq" if "_hq_" in name else "sam"
    trunk = name.rpartition("hiera_")[2]
    size = "nano" if trunk == "nano" else "standard"
    groups = [f"trunk=hiera_{trunk}", f"decoder={decoder}", f"size={size}"]
    switches = [stability_switch(item) for item in overrides]
    own = [
        moved(item)
        for item, switch in zip(overrides, switches, strict=True)
        if switch is None
    ]
    with _explained(overrides), _own_hydra():
        config = compose("model", [*groups, *own])
    check_resolution(config.model.image_size)
    if False in switches:
        config.model.mask_decoder.stability = None
    return config


class VideoOptions(TypedDict, total=False):
    """Keyword arguments that the builders of video predictors share."""

    fill_hole_area: int | None
    """Largest hole to fill, in pixels of the low-resolution mask (stride 4); 8 with
    post-processing and 0 without it if not given."""
    tracking: TrackingMode
    """"exact" (default), or "local": attention in windows around small objects, much
    faster and nearly the same masks."""
    max_batch: int | None
    """Most objects worked on at once; None takes what fits into memory."""
    resolution: int | None
    """Side in pixels of the square that the model sees, a multiple of 32; None is the
    one it was trained at. Less is much faster and loses detail."""
    compile: bool
    """Compile the heavy parts when they are first used, for long runs on a GPU."""
    vos_optimized: bool
    """Upstream's word for `compile`."""


def _resize(config: DictConfig, resolution: int | None) -> None:
    if resolution is not None:
        check_resolution(resolution)
        config.model.image_size = resolution


def _build_model(
    config: DictConfig,
    overrides: Sequence[str],
    ckpt_path: str | PathLike[str] | None,
    device: str | torch.device,
    mode: Literal["eval", "train"],
) -> HqSam2:
    with _explained(overrides):
        model: HqSam2 = instantiate(config.model)
    if ckpt_path is not None:
        load_weights(model, ckpt_path)
    return model.to(resolve_device(device)).train(mode == "train")


def build_sam2(
    config_file: str,
    ckpt_path: str | PathLike[str] | None = None,
    device: str | torch.device = "auto",
    mode: Literal["eval", "train"] = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    *,
    resolution: int | None = None,
    compile: bool = False,  # noqa: A002 - as in torch
) -> HqSam2:
    """Build a model for `SAM2ImagePredictor`.

    Parameters
    ----------
    config_file : str
        Short name such as "sam2.1_hq_hiera_large", or an upstream config path.
    ckpt_path : path or None
        Weights file; None leaves random weights. `load_model` finds weights by name.
    device : str or torch.device
        "auto" takes CUDA, then MPS, then the CPU.
    mode : {"eval", "train"}
        State the module is left in.
    hydra_overrides_extra : sequence of str
        Hydra overrides; upstream's keys are understood where the option exists.
    apply_postprocessing : bool
        Replace unstable single masks by the best candidate.
    resolution, compile
        As in `VideoOptions`.

    Raises
    ------
    ValueError
        If the name or the device is unknown, or an override or the resolution
        impossible.
    CheckpointError
        If the weights file does not fit; the message names the cause.
    CompileError
        If nothing may be compiled in this process.
    """
    config = compose_config(model_name(config_file), hydra_overrides_extra)
    _resize(config, resolution)
    if not apply_postprocessing:
        config.model.mask_decoder.stability = None
    model = _build_model(config, hydra_overrides_extra, ckpt_path, device, mode)
    if compile:
        compile_model(model)
    return model


def build_sam2_video_predictor(
    config_file: str,
    ckpt_path: str | PathLike[str] | None = None,
    device: str | torch.device = "auto",
    mode: Literal["eval", "train"] = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **options: Unpack[VideoOptions],
) -> SAM2VideoPredictor:
    """Build a video predictor.

    Parameters
    ----------
    config_file, ckpt_path, device, mode, hydra_overrides_extra
        As in `build_sam2`.
    apply_postprocessing : bool
        Also binarise masks from prompts for the memory, and fill holes.
    **options
        See `VideoOptions`.

    Raises
    ------
    ValueError
        If a name is unknown or a value impossible.
    CheckpointError, CompileError
        As `build_sam2`.
    """
    unknown = options.keys() - VideoOptions.__annotations__
    if unknown:
        msg = (
            f"Unknown options {', '.join(sorted(unknown))}; there are "
            f"{', '.join(VideoOptions.__annotations__)}."
        )
        raise TypeError(msg)
    config = compose_config(model_name(config_file), hydra_overrides_extra)
    _resize(config, options.get("resolution"))
    changes: dict[str, Any] = {}
    if not apply_postprocessing:
        config.model.mask_decoder.stability = None
        changes = {"binarize_mask_from_pts_for_mem_enc": False, "fill_hole_area": 0}
    for name in ("fill_hole_area", "tracking", "max_batch"):
        if options.get(name) is not None:
            changes[name] = options[name]
    with _explained(hydra_overrides_extra):
        policy: TrackingConfig = instantiate(config.tracking)
    policy = replace(policy, **changes)
    model = _build_model(config, hydra_overrides_extra, ckpt_path, device, mode)
    if options.get("compile") or options.get("vos_optimized"):
        compile_model(model)
    return SAM2VideoPredictor(model, policy)


def build_sam2_hq_video_predictor(
    config_file: str,
    ckpt_path: str | PathLike[str] | None = None,
    device: str | torch.device = "auto",
    mode: Literal["eval", "train"] = "eval",
    hydra_overrides_extra: Sequence[str] = (),
    apply_postprocessing: bool = True,
    **options: Unpack[VideoOptions],
) -> SAM2VideoPredictor:
    """`build_sam2_video_predictor` for models with a high-quality mask token.

    Raises
    ------
    ValueError
        If the named model is a plain SAM 2.1.
    """
    name = model_name(config_file)
    if "_hq_" not in name:
        msg = (
            f"{name} has no high-quality token. Use {name.replace('2.1_', '2.1_hq_')}, "
            "or build_sam2_video_predictor for plain SAM 2.1."
        )
        raise ValueError(msg)
    return build_sam2_video_predictor(
        config_file,
        ckpt_path,
        device,
        mode,
        hydra_overrides_extra,
        apply_postprocessing,
        **options,
    )


def with_settings(
    predictor: SAM2VideoPredictor,
    *,
    tracking: TrackingMode | None = None,
    resolution: int | None = None,
    one_piece: bool | None = None,
) -> SAM2VideoPredictor:
    """A predictor with the same weights and other settings; nothing is copied.

    Parameters
    ----------
    predictor : SAM2VideoPredictor
        Left as it is.
    tracking, resolution
        As in `VideoOptions`; None is what `predictor` has.
    one_piece
        As in `TrackingConfig`; None is what `predictor` has.
    """
    model, config = predictor.model, predictor.config
    if resolution is not None and resolution != model.image_size:
        check_resolution(resolution)
        model = copy.copy(model)
        model.image_size = resolution
    if tracking is not None:
        config = replace(config, tracking=tracking)
    if one_piece is not None:
        config = replace(config, one_piece=one_piece)
    if model is predictor.model and config == predictor.config:
        return predictor
    return SAM2VideoPredictor(model, config, predictor.hq, predictor.loader.store)
