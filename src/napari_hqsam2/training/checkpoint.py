"""State of a training run as small safetensors files, and the weights it yields."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

SHARD_BYTES = 15 * 2**20
SEPARATOR = "|"
STATE_FILE = "state.json"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """Where a phase stands."""

    phase: str
    step: int
    minutes: float
    """Time spent so far, over all sittings."""


def _shards(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    shards: list[dict[str, Tensor]] = [{}]
    used = 0
    for name, tensor in tensors.items():
        size = tensor.nelement() * tensor.element_size()
        if shards[-1] and used + size > SHARD_BYTES:
            shards.append({})
            used = 0
        shards[-1][name] = tensor.detach().cpu().contiguous()
        used += size
    return shards


def _optimiser_tensors(
    optimiser: torch.optim.Optimizer, names: list[str]
) -> dict[str, Tensor]:
    state = optimiser.state_dict()["state"]
    return {
        f"{moment}{SEPARATOR}{names[index]}": values[moment]
        for index, values in state.items()
        for moment in MOMENTS
    }


def _like(moment: Tensor, parameter: Tensor) -> Tensor:
    """A moment in its parameter's memory layout, which fused optimisers rely on."""
    if moment.shape != parameter.shape:
        return moment
    return torch.empty_like(parameter, requires_grad=False).copy_(moment)


def save_checkpoint(
    folder: Path,
    progress: Progress,
    model: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    names: list[str],
) -> None:
    """Write a checkpoint; an interruption leaves the one before it intact.

    Parameters
    ----------
    folder : Path
        Replaced as a whole.
    progress : Progress
        Where the phase stands.
    model : nn.Module
        Weights.
    average : dict of Tensor
        Averaged weights.
    optimiser : torch.optim.Optimizer
        An Adam.
    names : list of str
        Names of the optimiser's parameters in its own order.
    """
    tensors = {f"model{SEPARATOR}{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average{SEPARATOR}{k}": v for k, v in average.items()}
    tensors |= _optimiser_tensors(optimiser, names)
    fresh = folder.with_name(folder.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    for index, shard in enumerate(_shards(tensors)):
        save_file(shard, fresh / f"shard-{index:03d}.safetensors")
    (fresh / STATE_FILE).write_text(json.dumps(asdict(progress)))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    folder: Path,
    model: nn.Module,
    average: dict[str, Tensor],
    optimiser: torch.optim.Optimizer,
    names: list[str],
) -> Progress:
    """Bring back what `save_checkpoint` wrote, in place; arguments as there."""
    tensors: dict[str, Tensor] = {}
    for path in sorted(folder.glob("shard-*.safetensors")):
        tensors |= load_file(path)
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        part, name = key.split(SEPARATOR, 1)
        parts.setdefault(part, {})[name] = tensor
    model.load_state_dict(parts["model"])
    for name, value in parts["average"].items():
        average[name].copy_(value)
    trained = [p for group in optimiser.param_groups for p in group["params"]]
    state = optimiser.state_dict()
    state["state"] = {
        index: {moment: _like(parts[moment][name], parameter) for moment in MOMENTS}
        for index, (name, parameter) in enumerate(zip(names, trained, strict=True))
        if name in parts.get("exp_avg", {})
    }
    optimiser.load_state_dict(state)
    return Progress(**json.loads((folder / STATE_FILE).read_text()))
