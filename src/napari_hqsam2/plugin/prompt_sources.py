"""Prompts from layers that are there: seeds, tracks, and the masks of other labels."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import find_objects

from napari_hqsam2.errors import HqSam2Error, PromptError
from napari_hqsam2.plugin.resolve import check_place, count_words
from napari_hqsam2.plugin.runs import Run
from napari_hqsam2.session.packed_masks import PackedMask

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hqsam2._types import BoolArray, LabelArray
    from napari_hqsam2.axes import StackAxes
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.orders import RunOutcome
    from napari_hqsam2.plugin.snapshots import Coordinates, Handle, PromptSource


class PromptSources:
    """Makes prompts of what other layers hold.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main

    def offers(self) -> tuple[PromptSource, ...]:
        """Layers that prompts can be taken from now.

        The chosen points are none any more once they say which object they belong to.
        """
        state, viewer = self._main.state, self._main.viewer
        if state.image is None:
            return ()
        is_named = state.points is not None and viewer.new_prompts(state.points)
        known = state.points if is_named else None
        return tuple(s for s in viewer.sources() if s.handle is not known)

    def take(self, source: PromptSource) -> None:
        """Make prompts of a layer, each seed, track or label an object of its own."""
        main = self._main
        if main.is_busy:
            main.teller.tell("Wait for the run to end, or cancel it first.")
            return
        try:
            if source.kind == "masks":
                self._take_masks(source)
            else:
                self._take_points(source)
        except HqSam2Error as error:
            main.teller.refuse(str(error))

    def _take_points(self, source: PromptSource) -> None:
        main, state = self._main, self._main.state
        item = main.desk.begin()
        found = main.viewer.snapshot_source(source.handle, state.image)
        is_inside = inside(item.subject.axes.stack, found.coordinates)
        kept = is_inside.nonzero()[0]
        if not len(kept):
            msg = (
                f"No point of '{source.name}' lies inside the image. Check the scale "
                "and translate of both layers."
            )
            raise PromptError(msg)
        if source.handle is state.points:
            self._name_objects(source, found.obj_ids)
            return
        loose = count(-1, -1)
        names = [found.obj_ids[row] or next(loose) for row in kept]
        ids = self._renumber(names)
        main.viewer.draw_points(
            self._prompt_points(),
            found.coordinates[kept],
            [ids[name] for name in names],
            [bool(found.positive[row]) for row in kept],
        )
        state.object_id = min(ids.values())
        left = len(is_inside) - len(kept)
        self._tell_points(source, len(kept), len(ids), left)

    def _name_objects(self, source: PromptSource, obj_ids: tuple[int, ...]) -> None:
        """Let every point of the chosen layer that names no object be one."""
        named = set(obj_ids)
        free = (number for number in count(1) if number not in named)
        ids = [obj_id or next(free) for obj_id in obj_ids]
        self._main.viewer.name_objects(source.handle, ids)
        self._main.state.object_id = ids[0]
        self._tell_points(source, len(ids), len(set(ids)), 0)

    def _tell_points(
        self, source: PromptSource, points: int, objects: int, left: int
    ) -> None:
        more = f" {left} lie outside the image." if left else ""
        words = f"{count_words(points, 'point')} of {count_words(objects, 'object')}"
        self._main.teller.tell(
            f"Took {words} from '{source.name}'.{more}", severity="done"
        )

    def _take_masks(self, source: PromptSource) -> None:
        main, state = self._main, self._main.state
        labels = main.viewer.snapshot_labels(source.handle, state.image)
        check_place(labels, main.desk.snapshot())
        position = main.frame_on_show()
        frame = np.asarray(main.viewer.label_array(source.handle)[position])
        masks = split_labels(frame)
        if not masks:
            msg = f"'{source.name}' has no label on this frame."
            raise PromptError(msg)
        ids = {each: each for each in masks}
        if source.handle is not state.labels:
            ids = self._renumber(masks)
        item = main.begin()
        notice = main.viewer.make_room(item.labels, max(ids.values()))
        if notice:
            main.viewer.notify(notice)
        work = partial(
            main.desk.run_tasks.take_masks,
            position=position,
            masks={ids[each]: mask for each, mask in masks.items()},
        )
        run = Run(item, f"on {item.subject.axes.where(position)}")
        main.runs.launch(run, work, self._tell_masks)

    def _tell_masks(self, run: Run, outcome: RunOutcome) -> None:
        main = self._main
        words = count_words(len(outcome.objects), "mask")
        main.teller.tell(f"Took {words} {run.words} as prompts.", severity="done")
        if outcome.objects:
            main.state.object_id = outcome.objects[0]

    def _renumber(self, names: Iterable[int]) -> dict[int, int]:
        """Ids that are free: those of the layer if all of them are."""
        unique = list(dict.fromkeys(names))
        first = self._main.layers.unused_id()
        if min(unique) >= first or (min(unique) >= 1 and first == 1):
            return {name: name for name in unique}
        return {name: first + number for number, name in enumerate(unique)}

    def _prompt_points(self) -> Handle:
        """The points layer that was made for the image, made if there is none."""
        main, image = self._main, self._main.state.image
        if main.viewer.companions(image).points is None:
            main.layers.add_prompt_layers()
        made = main.viewer.companions(image).points
        main.state.points = made
        return made


def inside(stack: StackAxes, places: Coordinates) -> BoolArray:
    """Which (N, leading axes + 2) places lie in a stack, (N,) bool."""
    lengths = np.array([*stack.leading_shape, *stack.hw])
    is_near = np.isfinite(places) & (places >= -0.5) & (places < lengths - 0.5)
    is_inside: BoolArray = np.all(is_near, axis=1)
    return is_inside


def split_labels(frame: LabelArray) -> dict[int, PackedMask]:
    """The mask of every label of an (H, W) frame."""
    values, inverse = np.unique(frame, return_inverse=True)
    dense = inverse.reshape(frame.shape) + 1
    hw = (frame.shape[0], frame.shape[1])
    found: dict[int, PackedMask] = {}
    for value, window in zip(values.tolist(), find_objects(dense), strict=True):
        if value > 0 and window is not None:
            rows, columns = window
            part = frame[window] == value
            found[int(value)] = PackedMask.placed(part, rows.start, columns.start, hw)
    return found
