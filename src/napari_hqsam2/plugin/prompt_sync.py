"""Keeps the prompts of the layers and those of the session alike."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_hqsam2.errors import PromptError
from napari_hqsam2.plugin.collect import collect_prompts
from napari_hqsam2.plugin.prompt_features import OBJECT_ID
from napari_hqsam2.plugin.prompt_values import PairPrompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from napari_hqsam2.plugin.axis_names import NamedAxes
    from napari_hqsam2.plugin.collect import DrawnPrompts
    from napari_hqsam2.plugin.prompt_values import DrawnItem, Pair
    from napari_hqsam2.plugin.snapshots import Handle, Shape
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort


@dataclass(frozen=True, slots=True, eq=False)
class _Items:
    """What the prompts of a pair look like in the layers."""

    points: tuple[DrawnItem, ...]
    shapes: tuple[DrawnItem, ...]

    @property
    def name_objects(self) -> bool:
        """Whether the layers say which object a prompt belongs to."""
        return all(OBJECT_ID in item.features for item in (*self.points, *self.shapes))

    def for_object(self, obj_id: int) -> _Items:
        """The same for another object."""
        points, shapes = (
            tuple(
                replace(item, features={**item.features, OBJECT_ID: obj_id})
                for item in items
            )
            for items in (self.points, self.shapes)
        )
        return _Items(points, shapes)


@dataclass(slots=True, eq=False)
class PromptMemory:
    """What was read from the layers of one image."""

    default_object: int
    """Object of prompts whose layer does not say."""
    known: dict[Pair, PairPrompts] = field(default_factory=dict)
    """As the session was told."""
    items: dict[tuple[Pair, PairPrompts], _Items] = field(default_factory=dict)
    """As they were drawn, ever."""
    layers: tuple[Handle | None, Handle | None] = (None, None)
    """Points and shapes that they were read from last."""
    left: dict[Pair, PairPrompts] = field(default_factory=dict)
    """Of the session alone, since the layer that showed them was removed."""


class PromptSync:
    """Reads prompts from layers, and writes them back after undo.

    Parameters
    ----------
    state
        Which layers.
    viewer
        Where they are.
    """

    def __init__(self, state: PluginState, viewer: ViewerPort) -> None:
        self._state = state
        self._viewer = viewer

    def changes(
        self, memory: PromptMemory, axes: NamedAxes
    ) -> dict[Pair, PairPrompts | None]:
        """Pairs whose prompts have changed since the last call; None for no prompts.

        What was drawn in a layer that has been removed since then stays as it is.

        Raises
        ------
        PromptError
            A prompt cannot be used; nothing is taken over then.
        """
        drawn = self._read(memory, axes)
        now = _values(drawn)
        self._leave(memory, drawn)
        changed: dict[Pair, PairPrompts | None] = {
            pair: prompts
            for pair, prompts in now.items()
            if memory.known.get(pair) != prompts
        }
        for pair, prompts in changed.items():
            if prompts is not None:
                memory.items[pair, prompts] = self._items(drawn[pair])
        changed |= dict.fromkeys(memory.known.keys() - now.keys())
        memory.known = now
        for pair in changed:
            memory.left.pop(pair, None)
        return changed

    def draw_left(self, memory: PromptMemory, axes: NamedAxes) -> None:
        """Draw what was in layers that have been removed.

        Raises
        ------
        PromptError
            As of `restore`.
        """
        self._leave(memory, self._read(memory, axes))
        left, memory.left = memory.left, {}
        self.restore(memory, axes, left)

    def _leave(self, memory: PromptMemory, drawn: Mapping[Pair, DrawnPrompts]) -> None:
        """Take what a layer showed that was removed for what it is now."""
        there = {c.handle for c in (*self._viewer.points(), *self._viewer.shapes())}
        gone = [x is not None and x not in there for x in memory.layers]
        memory.layers = (self._state.points, self._state.shapes)
        if not any(gone):
            return
        for pair, prompts in tuple(memory.known.items()):
            items = memory.items.get((pair, prompts))
            parts = (items.points, items.shapes) if items is not None else ()
            if any(
                is_gone and part for is_gone, part in zip(gone, parts, strict=False)
            ):
                memory.left.setdefault(pair, memory.known.pop(pair))
                if pair in drawn:
                    rest = PairPrompts.of(drawn[pair].prompts)
                    memory.known[pair] = rest
                    memory.items[pair, rest] = self._items(drawn[pair])

    def shows(self, axes: NamedAxes, wanted: Mapping[Pair, PairPrompts]) -> bool:
        """Whether the layers show these prompts and no others; masks may be missing."""
        try:
            now = _values(self._read(PromptMemory(0), axes))
        except PromptError:
            return False
        return now.keys() <= wanted.keys() and all(
            now.get(pair, PairPrompts()) in (each, replace(each, mask=None))
            for pair, each in wanted.items()
        )

    def restore(
        self,
        memory: PromptMemory,
        axes: NamedAxes,
        wanted: Mapping[Pair, PairPrompts | None],
    ) -> None:
        """Draw prompts as they were; those that were never drawn stay invisible.

        Raises
        ------
        PromptError
            The layers hold something that cannot be read.
        """
        points: set[int] = set()
        shapes: set[int] = set()
        for pair, item in self._read(memory, axes).items():
            if pair in wanted:
                points.update(item.point_indices)
                shapes.update(item.shape_indices)
        new = [
            items
            for pair, prompts in wanted.items()
            if prompts is not None
            and (items := _find(memory, pair, prompts)) is not None
        ]
        with self._without_echo():
            self._rewrite(
                self._state.points, points, [item for n in new for item in n.points]
            )
            self._rewrite(
                self._state.shapes, shapes, [item for n in new for item in n.shapes]
            )
        now = _values(self._read(memory, axes))
        for pair in wanted:
            memory.known.pop(pair, None)
            if pair in now:
                memory.known[pair] = now[pair]

    @contextmanager
    def _without_echo(self) -> Iterator[None]:
        """Change layers without reacting to it."""
        events = self._viewer.events
        with (
            events.prompts_changed.blocked(),
            events.shape_added.blocked(),
            events.defaults_changed.blocked(),
        ):
            yield

    def _read(self, memory: PromptMemory, axes: NamedAxes) -> dict[Pair, DrawnPrompts]:
        state, viewer = self._state, self._viewer
        points = None
        if state.points is not None:
            points = viewer.snapshot_points(state.points, state.image)
        shapes: tuple[Shape, ...] = ()
        if state.shapes is not None:
            shapes = viewer.snapshot_shapes(state.shapes, state.image)
        return {
            (item.prompts.obj_id, tuple(item.prompts.position)): item
            for item in collect_prompts(axes, points, shapes, memory.default_object)
        }

    def _items(self, drawn: DrawnPrompts) -> _Items:
        points, shapes = self._state.points, self._state.shapes
        return _Items(
            self._viewer.drawn_items(points, drawn.point_indices),
            self._viewer.drawn_items(shapes, drawn.shape_indices),
        )

    def _rewrite(
        self, layer: Handle | None, gone: Iterable[int], new: list[DrawnItem]
    ) -> None:
        gone = sorted(gone)
        if layer is not None and (gone or new):
            self._viewer.redraw(layer, gone, new)


def _values(drawn: Mapping[Pair, DrawnPrompts]) -> dict[Pair, PairPrompts]:
    return {pair: PairPrompts.of(item.prompts) for pair, item in drawn.items()}


def _find(memory: PromptMemory, pair: Pair, prompts: PairPrompts) -> _Items | None:
    """How prompts were drawn, for this object or for another that they come from.

    Masks that were proposed are not drawn.
    """
    drawn = PairPrompts(prompts.points, prompts.box)
    found = memory.items.get((pair, prompts)) or memory.items.get((pair, drawn))
    if found is not None:
        return found
    obj_id, position = pair
    return next(
        (
            items.for_object(obj_id)
            for ((_, place), known), items in memory.items.items()
            if place == position and known == drawn and items.name_objects
        ),
        None,
    )
