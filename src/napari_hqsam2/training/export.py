"""Trained weights as the file that the package ships."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

MAX_BYTES = 16 * 1000 * 1000
ALIGNMENT = 8


def to_half(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Round floating weights to float16.

    Raises
    ------
    ValueError
        If a weight is not finite, or too large for float16.
    """
    rounded = {}
    for name, tensor in weights.items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not bool(torch.isfinite(half).all()):
            largest = float(tensor.abs().max())
            msg = f"{name} does not fit float16: its largest value is {largest:g}."
            raise ValueError(msg)
        rounded[name] = half.contiguous()
    return rounded


def safetensors_bytes(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> bytes:
    """Serialise float16 tensors so that equal contents give equal bytes.

    Tensors and metadata are written in the order of their names.
    """
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    body = bytearray()
    for name, tensor in sorted(tensors.items()):
        data = tensor.cpu().numpy().astype("<f2").tobytes()
        header[name] = {
            "dtype": "F16",
            "shape": list(tensor.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return struct.pack("<Q", len(text)) + text + bytes(body)


def export(weights: Path, target: Path, metadata: Mapping[str, str]) -> str:
    """Write a training run's weights as float16 safetensors.

    Parameters
    ----------
    weights : Path
        Safetensors file of a training phase.
    target : Path
        File to write.
    metadata : mapping
        Recipe, steps, seed; strings only.

    Returns
    -------
    str
        SHA-256 of the file.

    Raises
    ------
    ValueError
        If the file would be larger than 16 MB.
    """
    content = safetensors_bytes(to_half(load_file(weights)), metadata)
    if len(content) > MAX_BYTES:
        msg = f"The weights take {len(content)} bytes; at most {MAX_BYTES} are shipped."
        raise ValueError(msg)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Export weights; the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m napari_hqsam2.training.export")
    parser.add_argument("weights", type=Path, help="weights.safetensors of a phase")
    parser.add_argument("target", type=Path, help="file of the package to write")
    parser.add_argument("--recipe", default="", help="words to keep in the file")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    digest = export(options.weights, options.target, {"recipe": options.recipe})
    logging.getLogger(__name__).info("SHA-256 %s", digest)


if __name__ == "__main__":
    main()
