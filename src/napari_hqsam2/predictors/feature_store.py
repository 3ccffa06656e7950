"""Image features on the disk, for models that take seconds to compute them on a CPU.

Files are named after what they were computed from, so that nothing else is ever read:
the picture that the model is given, its name and parameters, and the versions of this
package and of torch.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import shutil
from contextlib import suppress
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load, save

from napari_hqsam2.files import atomic_path, cache_folder
from napari_hqsam2.modeling.outputs import ImageFeatures
from napari_hqsam2.weights.state_dict import parameters_sha256

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2

logger = logging.getLogger(__name__)

BYTES_VARIABLE = "NAPARI_HQSAM2_FEATURE_BYTES"
"""Environment variable with the bytes that may be kept; 0 keeps nothing."""
DEFAULT_BYTES = 4 * 10**9
"""Some 230 frames of the official models."""
LEFT_FREE = 5 * 10**9
"""Bytes of the disk that are left to others."""
SLOW_PARAMETERS = 20 * 10**6
"""Models of fewer compute features about as fast as they are read."""
DIGEST_BYTES = 16


def feature_store(model: HqSam2, name: str) -> FeatureStore | None:
    """Where features of a model are kept; None if it computes them fast enough.

    Raises
    ------
    ValueError
        The environment variable is not a number of bytes.
    """
    text = os.environ.get(BYTES_VARIABLE, str(DEFAULT_BYTES))
    if not text.isdecimal():
        msg = (
            f"{BYTES_VARIABLE}={text!r} is not a number of bytes; set it to 4000000000 "
            "to keep up to 4 GB of image features, to 0 to keep none, or unset it."
        )
        raise ValueError(msg)
    is_slow = sum(each.numel() for each in model.parameters()) >= SLOW_PARAMETERS
    if model.device.type != "cpu" or not is_slow or not int(text):
        return None
    return FeatureStore(cache_folder() / "features", model, name, int(text))


class FeatureStore:
    """Features of one model among those of others; the least recently used go first.

    Parameters
    ----------
    folder
        Where files are kept; made when there is one.
    model
        Its parameters must not change.
    name
        Of the model: what the parameters do not tell.
    budget
        Bytes that all files may take.
    """

    def __init__(
        self, folder: Path, model: HqSam2, name: str, budget: int = DEFAULT_BYTES
    ) -> None:
        self.folder = folder
        self.budget = budget
        self._model = model
        self._name = name
        self._has_failed = False

    @cached_property
    def _origin(self) -> bytes:
        """All that features depend on but the picture."""
        parts = (
            version("napari-hqsam2"),
            torch.__version__,
            platform.machine(),
            self._name,
            parameters_sha256(self._model.state_dict()),
        )
        return "\n".join(parts).encode()

    def key(self, image: Tensor) -> str:
        """Name of the features of (B, 3, S, S) images as the model is given them."""
        digest = hashlib.blake2b(self._origin, digest_size=DIGEST_BYTES)
        digest.update(f"{tuple(image.shape)} {image.dtype}".encode())
        digest.update(image.contiguous().numpy().data)
        return digest.hexdigest()

    def get(self, key: str) -> ImageFeatures | None:
        """Features that were put there; None if there are none, or they are damaged."""
        for path in self.folder.glob(f"{key}-*.safetensors"):
            try:
                content = path.read_bytes()
            except OSError as error:
                logger.warning("%s cannot be read (%s): computed anew.", path, error)
                continue
            if path.stem.endswith(_digest(content)):
                with suppress(OSError):  # where others may only read
                    os.utime(path)
                return _from_bytes(content)
            logger.warning("%s is damaged: computed anew.", path)
            with suppress(OSError):
                path.unlink()
        return None

    def put(self, key: str, features: ImageFeatures) -> None:
        """Keep features; a disk that fails is told once, and nothing more is kept."""
        if self._has_failed:
            return
        content = _to_bytes(features)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < LEFT_FREE + len(content):
                return
            name = f"{key}-{_digest(content)}.safetensors"
            with atomic_path(self.folder / name) as temporary:
                temporary.write_bytes(content)
            self._make_room()
        except OSError as error:
            self._has_failed = True
            logger.warning("Image features are not kept in %s: %s", self.folder, error)

    def _make_room(self) -> None:
        files = []
        for path in self.folder.glob("*.safetensors"):
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        room = self.budget
        for _, size, path in sorted(files, reverse=True):
            room -= size
            if room < 0:
                path.unlink(missing_ok=True)


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def _to_bytes(features: ImageFeatures) -> bytes:
    s0, s1 = features.high_res
    tensors = {"embedding": features.embedding, "s0": s0, "s1": s1}
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


def _from_bytes(content: bytes) -> ImageFeatures:
    found = load(content)
    return ImageFeatures(found["embedding"], (found["s0"], found["s1"]))
