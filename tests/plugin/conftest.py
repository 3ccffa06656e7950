"""A viewer and an engine that the controller cannot tell from real ones."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.snapshots import (
    Companions,
    ImageSnapshot,
    LabelsSnapshot,
    LayerChoice,
    PointSet,
    Shape,
)
from napari_hqsam2.plugin.viewer_port import ViewerEvents
from napari_hqsam2.segmentation.masks import FrameResult, ObjectMask, paint
from napari_hqsam2.segmentation.prompt_groups import group_prompts, plan_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from napari_hqsam2.plugin.resolve import SegmentRequest
    from napari_hqsam2.prompts import FramePrompts

HALF = 2
"""The engine of the tests marks a square of 2 * HALF + 1 pixels on each prompt."""


@dataclass(eq=False)
class FakeLayer:
    kind: str
    name: str
    data: Any = None
    axes: str = ""
    limits: tuple[float, float] = (0.0, 1.0)
    made_for: Any = None
    positive: list[bool] = field(default_factory=list)
    obj_ids: list[int] = field(default_factory=list)
    next_prompt: tuple[int, bool] = (1, True)


class FakeViewer:
    """A `ViewerPort` over plain Python objects."""

    def __init__(self) -> None:
        self.layers: list[FakeLayer] = []
        self.events = ViewerEvents()
        self.position: tuple[int, ...] | None = (0,)
        self.notes: list[str] = []
        self.status = ""
        self.edits: list[bool] = []
        self.is_closed = False

    def add(self, layer: FakeLayer) -> FakeLayer:
        self.layers.append(layer)
        self.events.layers_changed.emit()
        return layer

    def remove(self, layer: FakeLayer) -> None:
        self.layers.remove(layer)
        self.events.layers_changed.emit()
        self.events.layer_removed.emit(layer)

    def add_image(self, shape: tuple[int, ...], axes: str) -> FakeLayer:
        data = np.zeros(shape, dtype=np.uint8)
        return self.add(FakeLayer("image", f"image {len(self.layers)}", data, axes))

    def add_points(self, rows: Any, obj_ids: list[int] | None = None) -> FakeLayer:
        rows = np.atleast_2d(np.asarray(rows, dtype=float))
        ids = obj_ids or [1] * len(rows)
        layer = FakeLayer("points", "points", rows, obj_ids=ids)
        layer.positive = [True] * len(rows)
        return self.add(layer)

    def _of(self, kind: str) -> tuple[LayerChoice, ...]:
        return tuple(
            LayerChoice(x, x.name) for x in reversed(self.layers) if x.kind == kind
        )

    def images(self) -> tuple[LayerChoice, ...]:
        return self._of("image")

    def points(self) -> tuple[LayerChoice, ...]:
        return self._of("points")

    def shapes(self) -> tuple[LayerChoice, ...]:
        return self._of("shapes")

    def labels(self) -> tuple[LayerChoice, ...]:
        return self._of("labels")

    def selected(self) -> FakeLayer | None:
        return None

    def snapshot_image(self, image: Any) -> ImageSnapshot:
        axes = name_axes(tuple(image.axes), image.data.shape)
        return ImageSnapshot(image.name, image.data, axes, image.limits)

    def snapshot_points(self, points: Any, image: Any) -> PointSet:
        del image
        return PointSet(
            points.data, np.array(points.positive, dtype=bool), tuple(points.obj_ids)
        )

    def snapshot_shapes(self, shapes: Any, image: Any) -> tuple[Shape, ...]:
        del image
        return tuple(
            Shape("rectangle", vertices, obj_id=obj_id)
            for vertices, obj_id in zip(shapes.data, shapes.obj_ids, strict=True)
        )

    def snapshot_labels(self, labels: Any, image: Any) -> LabelsSnapshot:
        del image
        return LabelsSnapshot(labels.name, labels.data.shape, labels.data.dtype, True)

    def current_position(self, image: Any) -> tuple[int, ...] | None:
        del image
        return self.position

    def add_prompt_layers(self, image: Any) -> tuple[FakeLayer, FakeLayer]:
        shapes = FakeLayer("shapes", "shapes", [], made_for=image)
        points = FakeLayer("points", "points", np.empty((0, 3)), made_for=image)
        return self.add(points), self.add(shapes)

    def companions(self, image: Any) -> Companions:
        def made(kind: str) -> FakeLayer | None:
            found = [x for x in self.layers if x.kind == kind and x.made_for is image]
            return found[-1] if found and image is not None else None

        return Companions(made("points"), made("shapes"), made("labels"))

    def set_new_prompts(self, layers: Any, obj_id: int, *, positive: bool) -> None:
        for layer in layers:
            layer.next_prompt = (obj_id, positive)

    def new_prompts(self, layer: Any) -> tuple[int, bool]:
        return layer.next_prompt

    def set_object(self, shapes: Any, index: int, obj_id: int) -> None:
        shapes.obj_ids[index] = obj_id

    def largest_label(self, labels: Any) -> int:
        return int(labels.data.max(initial=0))

    def add_labels(self, image: Any) -> FakeLayer:
        shape = self.snapshot_image(image).axes.stack.labels_shape
        data = np.zeros(shape, dtype=np.int32)
        return self.add(FakeLayer("labels", "labels", data, made_for=image))

    def make_room(self, labels: Any, largest_id: int) -> str:
        del labels
        return "widened" if largest_id > 1000 else ""

    def paint(
        self,
        labels: Any,
        position: tuple[int, ...],
        masks: Sequence[ObjectMask],
        *,
        as_one_edit: bool,
    ) -> None:
        if labels.data.ndim != len(position) + 2:
            msg = "other shape"
            raise StackError(msg)
        self.edits.append(as_one_edit)
        paint(labels.data[position], masks)

    def finish(self, labels: Any, provenance: dict[str, str]) -> None:
        labels.provenance = provenance

    def notify(self, text: str, *, is_problem: bool = False) -> None:
        del is_problem
        self.notes.append(text)

    def show_status(self, text: str) -> None:
        self.status = text

    def close(self) -> None:
        self.is_closed = True


class FakeEngine:
    """Marks a square on each prompt and keeps it there; can also fail or stall."""

    def __init__(self) -> None:
        self.requests: list[SegmentRequest] = []
        self.error: Exception | None = None
        self.fail_at = 0
        self.go_on: threading.Event | None = None
        self.before_frame: Callable[[int], None] | None = None
        self.finds = True
        self.is_released = False
        self.threads: set[int] = set()

    def run(
        self,
        request: SegmentRequest,
        report: Callable[[str], None],
        is_cancelled: Callable[[], bool],
    ) -> Iterator[FrameResult]:
        self.requests.append(request)
        report("Loading the model")
        for number, result in enumerate(self._results(request)):
            self.threads.add(threading.get_ident())
            if self.before_frame is not None:
                self.before_frame(number)
            if self.go_on is not None:
                self.go_on.wait(10)
            if self.error is not None and number == self.fail_at:
                raise self.error
            if is_cancelled():
                return
            yield result

    def release(self) -> None:
        self.is_released = True

    def _results(self, request: SegmentRequest) -> Iterator[FrameResult]:
        stack = request.axes.stack
        if request.axis is None:
            yield FrameResult((), self._masks(request.prompts, stack.hw))
            return
        frames = range(*request.frames)
        for group in group_prompts(request.prompts, stack, request.axis):
            span = plan_span(group, frames, request.settings.direction)
            for frame in (*span.forward, *span.backward):
                masks = self._masks(group.prompts, stack.hw)
                yield FrameResult(group.position(frame), masks)

    def _masks(
        self, prompts: Sequence[FramePrompts], hw: tuple[int, int]
    ) -> tuple[ObjectMask, ...]:
        first = {prompt.obj_id: prompt for prompt in reversed(prompts)}
        return tuple(self._mask(prompt, hw) for _, prompt in sorted(first.items()))

    def _mask(self, prompt: FramePrompts, hw: tuple[int, int]) -> ObjectMask:
        y, x = _centre(prompt)
        rows = slice(max(y - HALF, 0), min(y + HALF + 1, hw[0]))
        columns = slice(max(x - HALF, 0), min(x + HALF + 1, hw[1]))
        size = (rows.stop - rows.start, columns.stop - columns.start)
        mask = np.full(size, self.finds, dtype=np.bool_)
        return ObjectMask(prompt.obj_id, rows.start, columns.start, mask, 1.0, 0.9)


def _centre(prompt: FramePrompts) -> tuple[int, int]:
    if prompt.points:
        return round(prompt.points[0].y), round(prompt.points[0].x)
    if prompt.box is not None:
        box = prompt.box
        return round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)
    assert prompt.mask is not None
    rows, columns = np.nonzero(prompt.mask)
    return round(rows.mean()), round(columns.mean())


@pytest.fixture
def fake_viewer() -> FakeViewer:
    return FakeViewer()


@pytest.fixture
def fake_engine() -> FakeEngine:
    return FakeEngine()
