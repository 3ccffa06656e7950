"""Weights from files: found out, checked, converted once, loaded strictly."""

from __future__ import annotations

import hashlib
import logging
import pickle
import re
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors
import torch
from safetensors.torch import load_file, save_file

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.weights import records
from napari_hqsam2.weights.cache import converted_path, quarantine, written_whole
from napari_hqsam2.weights.file_format import (
    MAX_BYTES,
    BadFileError,
    FileFormat,
    sniff,
)
from napari_hqsam2.weights.variants import describe_variant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from os import PathLike

    from torch import Tensor, nn

logger = logging.getLogger(__name__)

SAFE_TORCH = (2, 10)
"""First release of torch whose restricted unpickler has no known hole."""
SHOWN_KEYS = 4
OPTIONAL_PART = "mask_refiner"
"""Part of a model that weights may lack, as those of older releases and of the official
models do."""
CONVERSION = "1"
"""Version of the files that conversion writes; another one is not read."""


def load_checkpoint(path: str | PathLike[str]) -> dict[str, Tensor]:
    """Read the parameters of a checkpoint file; no code in it is ever run.

    A torch file (`.pt`) is converted to safetensors in the cache folder when it is read
    for the first time, and the copy is used from then on.

    Parameters
    ----------
    path : path-like
        A safetensors file, or a torch file that holds ``{"model": state_dict}`` or the
        state dict itself.

    Returns
    -------
    dict of str to torch.Tensor
        Parameters by key, on the CPU, in the dtype of the file.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, unsafe or not a checkpoint; the message names
        the cause. A bad file in the cache folder is put aside as ``*.bad``; files
        elsewhere are never touched.
    """
    path = Path(path).expanduser()
    try:
        if sniff(path) is FileFormat.SAFETENSORS:
            state, _ = _read_safetensors(path)
        else:
            state = _read_torch(path)
    except BadFileError as error:
        aside = quarantine(path)
        if aside is None:
            raise
        msg = f"{error} It was moved aside to {aside}; try again to fetch a new one."
        raise BadFileError(msg) from error
    return state


def load_weights(model: nn.Module, path: str | PathLike[str]) -> None:
    """Load a checkpoint into a model; every key and shape must fit.

    Parameters keep the dtype and device of the model, whatever the file holds. A model
    goes without its `OPTIONAL_PART` if the file has none.

    Parameters
    ----------
    model : torch.nn.Module
        The model, whose parameters are overwritten.
    path : path-like
        As for `load_checkpoint`.

    Raises
    ------
    CheckpointError
        If the file is bad or of another model; the message says which model it looks
        like. The model is unchanged then.
    """
    path = Path(path).expanduser()
    state = load_checkpoint(path)
    own = model.state_dict()
    goes_without = not any(map(is_optional, state))
    if goes_without:
        own = {key: value for key, value in own.items() if not is_optional(key)}
    _check_fit(own, state, path)
    if goes_without and hasattr(model, OPTIONAL_PART):
        setattr(model, OPTIONAL_PART, None)
    model.load_state_dict(state, strict=True)
    records.pin_on_first_use(path)


def is_optional(key: str) -> bool:
    """Whether a parameter is of the `OPTIONAL_PART`."""
    return key.startswith(f"{OPTIONAL_PART}.")


def _check_fit(
    own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: Path
) -> None:
    missing = own.keys() - state.keys()
    unexpected = state.keys() - own.keys()
    differing = {
        key for key in own.keys() & state.keys() if own[key].shape != state[key].shape
    }
    if not (missing or unexpected or differing):
        return
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    own_shapes = {key: tuple(tensor.shape) for key, tensor in own.items()}
    there = describe_variant(shapes) or "no model known here"
    here = describe_variant(own_shapes) or "another one"
    summary = f"the file looks like {there}, the model is {here}"
    parts = [f"{path} does not fit the model: {summary}."]
    if missing:
        parts.append(f"Missing in the file: {_shown(missing)}.")
    if unexpected:
        parts.append(f"Only in the file: {_shown(unexpected)}.")
    if differing:
        lines = (
            f"{key} {shapes[key]} instead of {own_shapes[key]}" for key in differing
        )
        parts.append(f"Of another shape: {_shown(lines)}.")
    parts.append("Choose the model that the file was made for, or another file.")
    raise CheckpointError(" ".join(parts))


def _shown(keys: Iterable[str]) -> str:
    ordered = sorted(keys)
    more = len(ordered) - SHOWN_KEYS
    return ", ".join(ordered[:SHOWN_KEYS]) + (f" and {more} more" if more > 0 else "")


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read parameters and metadata of a safetensors file."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        state: dict[str, Tensor] = load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        msg = f"{path} is damaged ({error}). Download it again."
        raise BadFileError(msg) from error
    return _checked(state, path), metadata


def _read_torch(path: Path) -> dict[str, Tensor]:
    """Read a torch file, from its converted copy if there is a current one."""
    status = path.stat()
    converted = converted_path(path)
    origin = {
        "conversion": CONVERSION,
        "source_size": str(status.st_size),
        "source_mtime_ns": str(status.st_mtime_ns),
    }
    if converted.is_file():
        try:
            sniff(converted)
            state, metadata = _read_safetensors(converted)
        except CheckpointError as error:
            logger.warning("Converting %s again: %s", path, error)
            quarantine(converted)
        else:
            if metadata == origin:
                return state
    state = _checked(_unwrapped(_unpickled(path), path), path)
    state = {key: tensor.contiguous().clone() for key, tensor in state.items()}
    try:
        with written_whole(converted) as temporary:
            save_file(state, temporary, metadata=origin)
    except (OSError, safetensors.SafetensorError) as error:
        logger.warning("Cannot keep a converted copy of %s: %s", path, error)
    return state


def _unpickled(path: Path) -> object:
    if tuple(map(int, torch.__version__.split(".")[:2])) < SAFE_TORCH:
        needed = ".".join(map(str, SAFE_TORCH))
        msg = (
            f"{path} is a torch file, and only torch {needed} or later reads such "
            f"files safely; this is torch {torch.__version__}. Update torch, or "
            "convert the file to safetensors."
        )
        raise CheckpointError(msg)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BadFileError(_unpickling_message(path, str(error))) from error
    except (OSError, MemoryError) as error:
        msg = f"{path} cannot be read ({str(error) or 'out of memory'}); try again."
        raise CheckpointError(msg) from error
    except Exception as error:  # a damaged pickle fails in any way
        lines = str(error).strip().splitlines() or [type(error).__name__]
        msg = f"{path} is damaged ({lines[0][:300]}). Download it again."
        raise BadFileError(msg) from error


def _unpickling_message(path: Path, text: str) -> str:
    """Why the restricted unpickler refused; torch's own text recommends to trust."""
    foreign = re.search(r"Unsupported (?:global|class)\S*(?: GLOBAL)? (\S+)", text)
    if foreign:
        return (
            f"{path} holds Python objects besides tensors ({foreign[1]}), which could "
            "run code when loaded; it is refused. Get the plain state dict."
        )
    cause = re.search(r"WeightsUnpickler error: (.{1,200})", text)
    detail = cause[1] if cause else "not a pickle of tensors"
    return f"{path} is damaged ({detail}). Download it again."


def _unwrapped(content: object, path: Path) -> dict[str, Tensor]:
    """State dict inside what a torch file held."""
    if isinstance(content, dict) and isinstance(content.get("model"), dict):
        content = content["model"]
    if not isinstance(content, dict) or not content:
        msg = (
            f"{path} holds a {type(content).__name__} without parameters; a checkpoint "
            'is a state dict, or {"model": state dict}.'
        )
        raise BadFileError(msg)
    for key, value in content.items():
        if not (isinstance(key, str) and isinstance(value, torch.Tensor)):
            msg = (
                f"{path} holds {key!r}: {type(value).__name__} among its parameters; a "
                "state dict maps names to tensors only."
            )
            raise BadFileError(msg)
    return {key: value.detach() for key, value in content.items()}


def _checked(state: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Check that all tensors are plain, of sane size, and finite."""
    total = 0
    for key, tensor in state.items():
        is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu"
        is_number = tensor.dtype.is_floating_point or tensor.dtype in (
            torch.int32,
            torch.int64,
            torch.bool,
        )
        if not (is_plain and is_number):
            msg = (
                f"{path} holds {key} as {tensor.dtype} ({tensor.layout}, "
                f"{tensor.device}); parameters are plain float or integer tensors."
            )
            raise BadFileError(msg)
        total += tensor.nbytes
        # A view that repeats few bytes many times would grow when copied.
        if tensor.nbytes > tensor.untyped_storage().nbytes() or total > MAX_BYTES:
            msg = (
                f"{path} holds {key} of shape {tuple(tensor.shape)}, which is more "
                "than the file stores. Use another file."
            )
            raise BadFileError(msg)
    broken = [
        key
        for key, tensor in state.items()
        if tensor.dtype.is_floating_point and not _is_finite(tensor)
    ]
    if broken:
        msg = (
            f"{path} holds NaN or infinity in {_shown(broken)}; its training failed or "
            "the file is damaged. Use another file."
        )
        raise BadFileError(msg)
    return state


def _is_finite(tensor: Tensor) -> bool:
    if tensor.element_size() == 1:
        tensor = tensor.float()
    return bool(torch.isfinite(tensor).all())


def parameters_sha256(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the names, shapes, types and values of a model's parameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()
