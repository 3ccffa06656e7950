"""A viewer and an engine that the controller cannot tell from real ones."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_hqsam2.errors import StackError
from napari_hqsam2.files import CONFIG_VARIABLE, STATE_VARIABLE
from napari_hqsam2.plugin.axis_names import name_axes
from napari_hqsam2.plugin.memory_watch import MemoryWatch
from napari_hqsam2.plugin.prompt_values import DrawnItem
from napari_hqsam2.plugin.snapshots import (
    Companions,
    ImageSnapshot,
    LabelsSnapshot,
    LayerChoice,
    PlaceToClick,
    PointSet,
    PromptSource,
    Shape,
)
from napari_hqsam2.plugin.viewer_port import ViewerEvents
from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.masks import ObjectMask
from napari_hqsam2.segmentation.prompt_groups import check_positive
from napari_hqsam2.session.anchors import Anchor
from napari_hqsam2.session.model_view import ModelView
from napari_hqsam2.session.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_hqsam2.plugin.label_view import LabelWrite
    from napari_hqsam2.plugin.models import Waiting
    from napari_hqsam2.prompts import FramePrompts
    from napari_hqsam2.session.anchors import RunPlan

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
    is_visible: bool = True


class FakeViewer:
    """A `ViewerPort` over plain Python objects."""

    def __init__(self) -> None:
        self.layers: list[FakeLayer] = []
        self.events = ViewerEvents()
        self.position: tuple[int, ...] | None = (0,)
        self.notes: list[str] = []
        self.status = ""
        self.writes: list[tuple[int, ...]] = []
        self.threads: set[int] = set()
        self.hidden: set[int] = set()
        self.clipboard = ""
        self.pointer: tuple[int, ...] = ()
        self.strokes: list[Any] = []
        self.unmade: list[Any] = []
        self.hovered: PlaceToClick | None = None
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

    def mixable(self, image: Any) -> tuple[LayerChoice, ...]:
        others = (c for c in self._of("image") if c.handle is not image)
        return (LayerChoice(image, image.name), *others)

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

    def add_prompt_layers(
        self, image: Any, points: Any = None, shapes: Any = None
    ) -> tuple[FakeLayer, FakeLayer]:
        rows = np.empty((0, 3))
        points = points or self.add(FakeLayer("points", "points", rows, made_for=image))
        shapes = shapes or self.add(FakeLayer("shapes", "shapes", [], made_for=image))
        return points, shapes

    def put_aside(self, layer: Any) -> None:
        layer.is_visible = False

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

    def add_labels(self, image: Any, array: Any = None) -> FakeLayer:
        shape = self.snapshot_image(image).axes.stack.labels_shape
        data = np.zeros(shape, dtype=np.int32) if array is None else array
        return self.add(FakeLayer("labels", "labels", data, made_for=image))

    def remove_labels(self, labels: Any) -> None:
        self.remove(labels)

    def make_room(self, labels: Any, largest_id: int) -> str:
        del labels
        return "widened" if largest_id > 1000 else ""

    def label_array(self, labels: Any) -> Any:
        return labels.data

    def write_labels(self, labels: Any, write: LabelWrite) -> None:
        if labels.data.ndim != len(write.position) + 2:
            msg = "other shape"
            raise StackError(msg)
        self.writes.append(write.position)
        self.threads.add(threading.get_ident())
        write.apply(labels.data[write.position])

    def label_colours(self, labels: Any, obj_ids: Any) -> Any:
        del labels
        return tuple((obj_id / 1000, 0.0, 0.0) for obj_id in obj_ids)

    def hide_labels(self, labels: Any, hidden: Any, shown: Any) -> None:
        del labels, shown
        self.hidden = set(hidden)

    def show_scores(self, labels: Any, scores: Any, names: Any) -> None:
        labels.scores = {item.obj_id: item for item in scores}
        labels.names = dict(names)

    def select_label(self, labels: Any, obj_id: int) -> None:
        labels.selected = obj_id

    def undo_stroke(self, labels: Any) -> None:
        self.strokes[-1](labels, is_undo=True)
        self.unmade.append(self.strokes.pop())

    def redo_stroke(self, labels: Any) -> None:
        self.unmade[-1](labels, is_undo=False)
        self.strokes.append(self.unmade.pop())

    def stroke(self, labels: Any, obj_id: int, frame: int, where: Any) -> None:
        """Paint with the brush."""
        before = labels.data[frame].copy()
        labels.data[frame][where] = obj_id
        after = labels.data[frame].copy()

        def replay(layer: Any, *, is_undo: bool) -> None:
            layer.data[frame] = before if is_undo else after

        self.strokes.append(replay)
        self.unmade.clear()
        self.events.painted.emit(labels, obj_id, ((frame,),))

    def label_under_pointer(self, labels: Any) -> int:
        return int(labels.data[self.pointer])

    def flip_selected(self, points: Any) -> bool:
        del points
        return False

    def sources(self) -> tuple[PromptSource, ...]:
        return ()

    def num_prompts(self, layer: Any) -> int:
        return len(layer.data)

    def drawn_items(self, layer: Any, indices: Any) -> tuple[DrawnItem, ...]:
        return tuple(
            DrawnItem(
                np.array(layer.data[i]),
                str(layer.positive[i]) if layer.kind == "points" else "rectangle",
                {"object_id": layer.obj_ids[i]},
            )
            for i in indices
        )

    def redraw(self, layer: Any, gone: Any, new: Any) -> None:
        kept = [i for i in range(len(layer.data)) if i not in gone]
        rows = [layer.data[i] for i in kept] + [item.vertices for item in new]
        layer.obj_ids = [layer.obj_ids[i] for i in kept]
        layer.obj_ids += [item.features["object_id"] for item in new]
        if layer.kind == "points":
            layer.positive = [layer.positive[i] for i in kept]
            layer.positive += [item.kind == "True" for item in new]
            rows = np.array(rows).reshape(-1, layer.data.shape[1])
        layer.data = rows
        self.events.prompts_changed.emit(layer)

    def show_frame(self, image: Any, position: tuple[int, ...]) -> None:
        del image
        self.position = tuple(position)
        self.events.frame_changed.emit()

    def show_view(self, image: Any, position: Any, view: ModelView) -> FakeLayer:
        del position
        layer = next((x for x in self.layers if x.kind == "view"), None)
        if layer is None:
            layer = self.add(FakeLayer("view", "view", made_for=image))
        layer.data = view
        return layer

    def hide_view(self, image: Any) -> None:
        for layer in [x for x in self.layers if x.kind == "view"]:
            if layer.made_for is image:
                self.remove(layer)

    def place_to_click(self, points: Any, image: Any) -> PlaceToClick | None:
        del points, image
        return self.hovered

    def show_preview(
        self, points: Any, image: Any, position: Any, mask: Any, colour: Any
    ) -> FakeLayer:
        del points
        layer = next((x for x in self.layers if x.kind == "preview"), None)
        if layer is None:
            layer = self.add(FakeLayer("preview", "preview", made_for=image))
        layer.data = (position, mask.unpacked(), colour)
        return layer

    def hide_preview(self, image: Any) -> None:
        for layer in self.layers:
            if layer.kind == "preview" and layer.made_for is image:
                layer.data = None

    def remove_preview(self, image: Any) -> None:
        for layer in [x for x in self.layers if x.kind == "preview"]:
            if layer.made_for is image:
                self.remove(layer)

    def copy_text(self, text: str) -> bool:
        self.clipboard = text
        return True

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
    """Real sessions with a model that marks a square on each prompt, and keeps it."""

    def __init__(self) -> None:
        self.sessions: list[Session] = []
        self.error: Exception | None = None
        self.fail_at = 0
        self.go_on: threading.Event | None = None
        self.before_frame: Callable[[int], None] | None = None
        self.finds = True
        self.found: tuple[ObjectMask, ...] = ()
        self.parts = 4
        self.prepared: list[tuple[int, ...]] = []
        self.modes: dict[int, str] = {}
        self.num_loaded = 0
        self.is_released = False
        self.threads: set[int] = set()

    def new_session(self, data: Any, axes: str, labels: Any, options: Any) -> Session:
        session = Session(data, axes=axes, labels=labels, **options)
        session._tracker = FakeTracker(self)
        self.sessions.append(session)
        return session

    def open_session(self, folder: Any, data: Any, labels: Any, options: Any) -> Any:
        del options
        session = Session.load(folder, data, labels=labels)
        session._tracker = FakeTracker(self)
        self.sessions.append(session)
        return session

    def give_model(self, session: Session, waiting: Waiting) -> bool:
        del session
        self.num_loaded += 1
        self.is_released = False
        waiting.report("Loading the model")
        return not waiting.is_cancelled()

    def propose(self, *given: Any) -> tuple[ObjectMask, ...]:
        *_, progress, is_cancelled = given
        for number in range(1, self.parts + 1):
            if is_cancelled():
                return ()
            progress(number, self.parts)
        return self.found

    def whereabouts(self) -> str:
        return "" if self.is_released else "a quick square maker"

    def watch_memory(self) -> MemoryWatch:
        return MemoryWatch(None)

    def release(self) -> None:
        self.is_released = True


class FakeTracker:
    """What a session asks of the model."""

    is_two_sided = True

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine

    def segment(self, prompts: Any, memories: Any, modes: Any) -> Any:
        del memories
        self._engine.modes.update(modes)
        check_positive(record.clicks() for _, record in prompts if not record.is_given)
        self._meet(0)
        return tuple(self._mask(record) for _, record in prompts)

    def follow(
        self, plan: RunPlan, modes: Any, stop: Any, is_cancelled: Callable[[], bool]
    ) -> Iterator[tuple[int, tuple[ObjectMask, ...]]]:
        del modes, stop
        for number, frame in enumerate((*plan.forward(), *plan.backward())):
            self._meet(number)
            if is_cancelled():
                return
            first = {anchor.obj_id: anchor for anchor in reversed(plan.anchors)}
            yield frame, tuple(self._mask(first[i]) for i in sorted(first))

    def prepare(self, line: Any, frame: int) -> None:
        self._engine.prepared.append(line.position(frame))

    def view(self, line: Any, frame: int, prompt: Any, box: Any) -> ModelView:
        del prompt
        where = line.position(frame)
        picture = np.full((4, 4, 3), sum(where), dtype=np.uint8)
        top, left, bottom, right = box or (0, 0, 4, 4)
        return ModelView(picture, Crop(top, left, bottom - top, right - left))

    def has_features(self, record: Any) -> bool:
        return record.position in self._engine.prepared

    def configure(self, settings: Any) -> None:
        pass

    def release(self) -> None:
        pass

    def _meet(self, number: int) -> None:
        engine = self._engine
        engine.threads.add(threading.get_ident())
        if engine.before_frame is not None:
            engine.before_frame(number)
        if engine.go_on is not None:
            engine.go_on.wait(10)
        if engine.error is not None and number == engine.fail_at:
            raise engine.error

    def _mask(self, item: Any) -> ObjectMask:
        if item.mask is not None:
            top, left, bottom, right = item.mask.box
            pixels = item.mask.unpacked()[top:bottom, left:right]
            return ObjectMask(item.obj_id, top, left, pixels, 9.0, 1.0)
        prompts = item.clicks if isinstance(item, Anchor) else item.clicks()
        y, x = _centre(prompts)
        size = (2 * HALF + 1, 2 * HALF + 1)
        mask = np.full(size, self._engine.finds, dtype=np.bool_)
        if not self._engine.finds:
            mask = mask[:0, :0]
        top, left = max(y - HALF, 0), max(x - HALF, 0)
        return ObjectMask(item.obj_id, top, left, mask, 9.0, 0.9)


class ManualTimer:
    """Rings when a test says so."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.is_running = False

    def start(self) -> None:
        self.is_running = True

    def stop(self) -> None:
        self.is_running = False

    def ring(self) -> None:
        if self.is_running:
            self.callback()


def _centre(prompt: FramePrompts) -> tuple[int, int]:
    positive = [point for point in prompt.points if point.positive]
    if positive:
        return round(positive[0].y), round(positive[0].x)
    if prompt.box is not None:
        box = prompt.box
        return round((box.y0 + box.y1) / 2), round((box.x0 + box.x1) / 2)
    assert prompt.mask is not None
    rows, columns = np.nonzero(prompt.mask)
    return round(rows.mean()), round(columns.mean())


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the settings of whoever runs the tests out of them."""
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "settings"))
    monkeypatch.setenv(STATE_VARIABLE, str(tmp_path / "state"))


@pytest.fixture
def fake_viewer() -> FakeViewer:
    return FakeViewer()


@pytest.fixture
def fake_engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def timers() -> list[ManualTimer]:
    """Timers that were made by `make_timer`."""
    return []


@pytest.fixture
def make_timer(timers: list[ManualTimer]) -> Callable[[Any], ManualTimer]:
    def make(callback: Callable[[], None]) -> ManualTimer:
        timers.append(ManualTimer(callback))
        return timers[-1]

    return make
