"""Choices that are remembered from one widget to the next."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, get_args

from napari_hqsam2._types import Direction, Overlap
from napari_hqsam2.configs.resolution import draft_resolutions
from napari_hqsam2.files import atomic_path, config_folder
from napari_hqsam2.plugin.state import CROPS, HqMode
from napari_hqsam2.predictors.tracking_config import TrackingMode
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_hqsam2.plugin.state import PluginState

logger = logging.getLogger(__name__)

FILE_NAME = "widget.json"
DEVICES = ("auto", "cuda", "mps", "cpu")


def _is_model(value: Any) -> bool:
    spec = registry.REGISTRY.get(value) if isinstance(value, str) else None
    return spec is not None and bool(spec.packaged or spec.url)


def _one_of(choices: tuple[Any, ...]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "model": _is_model,
    "device": _one_of(DEVICES),
    "hq_mode": _one_of(get_args(HqMode)),
    "overlap": _one_of(get_args(Overlap)),
    "tracking": _one_of(get_args(TrackingMode)),
    "direction": _one_of(get_args(Direction)),
    "crop": lambda value: not isinstance(value, bool) and value in CROPS,
    "one_piece": lambda value: isinstance(value, bool),
    "live": lambda value: isinstance(value, bool),
    "hover": lambda value: isinstance(value, bool),
    "keeps_work": lambda value: isinstance(value, bool),
}
REMEMBERED = (*_CHECKS, "resolution")
"""Fields of the state: how one works, not what one works on."""


class Preferences:
    """Fills a state with what was chosen last, and remembers what is chosen now.

    A file that is damaged, or holds what this version does not know, is read as far as
    it makes sense; a folder that cannot be written to is only noted in the log. The
    state does not keep its preferences alive.

    Parameters
    ----------
    state
        Filled at once, then followed.
    path
        The file; that of the user if None.
    """

    def __init__(self, state: PluginState, path: Path | None = None) -> None:
        self._state = state
        self._path = config_folder() / FILE_NAME if path is None else path
        for name, value in _known(_read(self._path)).items():
            setattr(state, name, value)
        for name in REMEMBERED:
            getattr(state.events, name).connect(self._save)

    def _save(self) -> None:
        chosen = {name: getattr(self._state, name) for name in REMEMBERED}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(self._path) as temporary:
                temporary.write_text(json.dumps(chosen, indent=2), encoding="utf-8")
        except OSError as error:
            logger.warning("Choices cannot be remembered in %s: %s", self._path, error)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("%s is not read: %s", path, error)
        return {}
    return content if isinstance(content, dict) else {}


def _known(content: dict[str, Any]) -> dict[str, Any]:
    """The part that this version can use."""
    used = {
        name: content[name]
        for name, is_valid in _CHECKS.items()
        if name in content and is_valid(content[name])
    }
    resolution = content.get("resolution")
    is_number = isinstance(resolution, int) and not isinstance(resolution, bool)
    if "model" in used and is_number and resolution in draft_resolutions(used["model"]):
        used["resolution"] = resolution
    return used
