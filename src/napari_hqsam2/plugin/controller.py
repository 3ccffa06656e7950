"""What the plugin does, without Qt and without napari."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from napari_hqsam2.configs.resolution import draft_resolutions
from napari_hqsam2.errors import HqSam2Error, PromptError, StackError
from napari_hqsam2.plugin.choices import LayerKeeper
from napari_hqsam2.plugin.desk import Desk
from napari_hqsam2.plugin.hand_painting import HandPainting
from napari_hqsam2.plugin.inference import Task
from napari_hqsam2.plugin.live import Live, NoTimer
from napari_hqsam2.plugin.model_window import ModelWindow
from napari_hqsam2.plugin.orders import Leg
from napari_hqsam2.plugin.prompt_sources import PromptSources
from napari_hqsam2.plugin.resolve import range_words, session_options
from napari_hqsam2.plugin.runs import Run, Runs, Teller
from napari_hqsam2.plugin.session_files import SessionFiles
from napari_hqsam2.plugin.state import HQ_MODES
from napari_hqsam2.weights import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hqsam2.plugin.desk import OpenImage
    from napari_hqsam2.plugin.inference import Inference, Ticket
    from napari_hqsam2.plugin.live import Timer
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.orders import Order, Outcome, RunOutcome
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort
    from napari_hqsam2.session.session import Session
    from napari_hqsam2.session.settings import RunOptions

Scope = Literal["frame", "stack"]
PACE_DEPENDS_ON = (
    "image",
    "model",
    "checkpoint",
    "device",
    "tracking",
    "resolution",
    "crop",
)


class PluginController:
    """Turns what the user asks for into tasks, and their results into a new state.

    All verbs return at once if the inference has a thread of its own.

    Parameters
    ----------
    state
        Choices; the controller reads them and writes what has become of them.
    viewer
        The viewer to work in.
    inference
        Carries out tasks.
    engine
        Where sessions and models come from.
    make_timer
        For waiting until prompts do not change any more; None takes them over only when
        a verb needs them.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        inference: Inference,
        engine: Engine,
        make_timer: Callable[[Callable[[], None]], Timer] = NoTimer,
    ) -> None:
        self.state = state
        self.viewer = viewer
        self._inference = inference
        self.desk = Desk(state, viewer, inference, engine)
        self.teller = Teller(state, viewer)
        self.runs = Runs(state, viewer, self.desk, self.teller)
        self.layers = LayerKeeper(state, viewer)
        self.live = Live(state, viewer, self.desk, make_timer)
        self._model_window = ModelWindow(state, viewer, self.desk)
        self.sources = PromptSources(self)
        self.files = SessionFiles(self)
        self._painting = HandPainting(self)
        events = viewer.events
        events.layer_removed.connect(self._on_layer_removed)
        events.data_replaced.connect(self._on_data_replaced)
        events.label_selected.connect(self._on_label_selected)
        state.events.model.connect(self._on_model_chosen)
        state.events.object_id.connect(self._on_object_chosen)
        for event in (state.events.image, state.events.labels):
            event.connect(self.desk.show)
        state.events.axis.connect(self._on_axis_chosen)
        state.events.is_thinking.connect(self._on_thinking)
        for name in PACE_DEPENDS_ON:
            getattr(state.events, name).connect(self._forget_pace)

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self.runs.is_busy

    def segment_frame(self) -> bool:
        """Segment the frame on show; False (and a message) if that cannot be done."""
        return self._start("frame")

    def segment_stack(self) -> bool:
        """Follow objects through the stack; False (and a message) if it cannot be."""
        return self._start("stack")

    def cancel(self) -> None:
        """Stop the run after the present frame; finished frames stay."""
        self.runs.cancel()

    def add_prompt_layers(self) -> None:
        """Make layers for prompts, and get ready for the first one."""
        self.layers.add_prompt_layers()
        if self.state.live and self.state.points is not None:
            self.live.warm_up()

    def new_object(self) -> None:
        """Let the next prompt start an object of its own; makes layers for prompts."""
        state = self.state
        if state.image is not None and state.points is None and state.shapes is None:
            self.add_prompt_layers()
        else:
            self.layers.new_object()

    def select_object(self, obj_id: int) -> None:
        """Let new prompts belong to an object."""
        self.state.object_id = obj_id

    def pick_object(self) -> None:
        """Let new prompts belong to the object under the pointer."""
        labels = self.state.labels
        obj_id = 0 if labels is None else self.viewer.label_under_pointer(labels)
        if obj_id:
            self.select_object(obj_id)
            name = next((r.name for r in self.state.objects if r.obj_id == obj_id), "")
            self.teller.tell(f"Now {name or f'label {obj_id}'}.")
        else:
            self.teller.tell("There is no object under the pointer.")

    def rename_object(self, obj_id: int, name: str) -> None:
        """Give an object a name."""
        self.edit(lambda session: session.rename(obj_id, name))

    def hide_object(self, obj_id: int, is_hidden: bool) -> None:
        """Hide or show the pixels of an object."""
        self.edit(lambda s: s.hide(obj_id) if is_hidden else s.show(obj_id))

    def delete_object(self, obj_id: int) -> None:
        """Remove an object with its prompts and pixels; undo brings it back."""
        self.edit(lambda session: session.delete_object(obj_id))

    def lock_here(self, is_locked: bool) -> None:
        """Accept the current object on the frame on show, or take that back."""
        obj_id, position = self.state.object_id, self._position()
        if position is None:
            return

        def change(session: Session) -> None:
            (session.lock if is_locked else session.unlock)(obj_id, position)

        self.edit(change, [obj_id])

    def toggle_lock(self) -> None:
        """Accept the current object on the frame on show, unless it is accepted."""
        timeline = self.state.timeline
        shown = None if timeline is None else timeline.frames[timeline.current]
        self.lock_here(is_locked=shown is None or not shown.is_locked)

    def go_to_frame(self, frame: int) -> None:
        """Show a frame of the axis that is followed, counted from 0."""
        position, item = self._position(), self.desk.open
        axis = self.state.axis
        if position is None or item is None or axis is None:
            return
        index = item.subject.axes.stack.leading.index(axis)
        place = (*position[:index], frame, *position[index + 1 :])
        self.viewer.show_frame(self.state.image, place)

    def next_doubt(self) -> None:
        """Show the next doubtful frame of the object; after the last, the first."""
        self._go_to_doubt(1)

    def previous_doubt(self) -> None:
        """Show the doubtful frame before; before the first one, the last."""
        self._go_to_doubt(-1)

    def undo(self) -> None:
        """Take back the last step."""
        self.edit(lambda s: f"Undone: {s.undo()}." if s.can_undo else "")

    def redo(self) -> None:
        """Do again what was taken back."""
        self.edit(lambda s: f"Done again: {s.redo()}." if s.can_redo else "")

    def propose_everything(self) -> None:
        """Make an object of everything that is found on the frame on show."""
        if self.is_busy:
            return
        try:
            item = self.begin()
            position = self.frame_on_show()
        except HqSam2Error as error:
            self.teller.refuse(str(error))
            return
        first = self.layers.unused_id()
        work = partial(self.desk.bench.find_all, position=position, first_id=first)
        where = item.subject.axes.where(position)
        self.runs.launch(Run(item, f"on {where}"), work, self._tell_found)

    def copy_as_python(self) -> None:
        """Put a script that does the same on the clipboard."""
        item = self.desk.open
        if item is None:
            self.teller.tell("There is nothing to copy yet.")
            return
        bench = self.desk.bench
        self._submit(item, lambda order, _: bench.as_python(order), self._on_script)

    def flip_polarity(self) -> None:
        """Let new points lie on what is to be left out, or on the object again.

        Points that are selected with the arrow tool are flipped instead.
        """
        points = self.state.points
        if points is None or not self.viewer.flip_selected(points):
            self.state.positive = not self.state.positive

    def next_hq_mode(self) -> None:
        """Make masks in the next way; those of the frame on show change at once."""
        state, modes = self.state, list(HQ_MODES)
        if not registry.get(state.model).is_hq:
            self.teller.tell(f"{state.model} has no high-quality head to compare.")
            return
        state.hq_mode = modes[(modes.index(state.hq_mode) + 1) % len(modes)]
        self.teller.tell(f"Masks: {HQ_MODES[state.hq_mode]}.")

    def toggle_view(self) -> None:
        """Show what the model sees of the frame on show, or hide it again."""
        self.state.shows_view = not self.state.shows_view

    def suspend(self) -> None:
        """Cancel and free the model's memory, while nobody sees the widget."""
        self.cancel()
        self._inference.submit(Task(lambda _: self.desk.bench.release()))

    def close(self, *, keep_model: bool = False) -> None:
        """Cancel, stop listening, and let go of the model unless others use it."""
        self.runs.forget()
        events = self.viewer.events
        events.layer_removed.disconnect(self._on_layer_removed)
        events.data_replaced.disconnect(self._on_data_replaced)
        events.label_selected.disconnect(self._on_label_selected)
        self.live.close()
        self._model_window.close()
        self._painting.close()
        self.layers.close()
        self.viewer.close()
        self.desk.close(keep_model=keep_model)

    def _start(self, scope: Scope) -> bool:
        if self.is_busy:
            return False
        try:
            self.start(scope)
        except (PromptError, StackError) as error:
            if self.state.message.text != str(error):
                self.teller.refuse(str(error))
            return False
        return True

    def start(self, scope: Scope) -> Run:
        """Start a run.

        Raises
        ------
        PromptError, StackError
            Something is missing or does not fit; the message says what to do.
        """
        self._check_before_labels_are_made()
        item, axis = self.begin(), self.state.axis
        if scope == "frame" or axis is None:
            position = self.frame_on_show()
            run = Run(item, f"on {item.subject.axes.where(position)}", total=1)
            work = partial(self.desk.bench.segment, position=position)
            return self.runs.launch(run, work)
        frames = self.state.frames or (0, item.subject.axes.stack.length(axis))
        axes, then = item.subject.axes, self.state.then_axis
        run = Run(item, range_words(axes, axis, frames, then))
        legs = [Leg(axis, self._run_options())]
        if then is not None:
            start = self.frame_on_show()[axes.stack.leading.index(then)]
            legs.append(Leg(then, self._hand_over(start)))
        work = partial(
            self.desk.bench.follow, legs=legs, on_step=partial(self.runs.on_step, run)
        )
        return self.runs.launch(run, work)

    def _check_before_labels_are_made(self) -> None:
        state, snapshot = self.state, self.desk.snapshot()
        session_options(snapshot, state)
        if state.axis is not None:
            snapshot.axes.stack.propagation_axis(state.axis)
        layers = [layer for layer in (state.points, state.shapes) if layer is not None]
        if not state.objects and not sum(map(self.viewer.num_prompts, layers)):
            msg = (
                "There is no prompt yet. Click on an object in a Points layer, or draw "
                "a rectangle around it in a Shapes layer."
            )
            raise PromptError(msg)

    def _run_options(self) -> RunOptions:
        state = self.state
        options: RunOptions = {
            "direction": state.direction,
            "frames": state.frames,
            "only_changed": state.only_changed,
            "stop_after_empty": state.stop_after_empty,
        }
        if state.only_current:
            options["objects"] = [state.object_id]
        return options

    def _hand_over(self, start: int) -> RunOptions:
        """Options of a run that goes on with what another one has left on a frame."""
        options = self._run_options()
        del options["frames"], options["only_changed"]
        options["direction"] = "both"
        options["start"] = start
        return options

    def begin(self) -> OpenImage:
        """Open the image, with its prompts as they are now.

        Raises
        ------
        PromptError, StackError
            As of `Desk.begin` and `Desk.read_prompts`.
        """
        self.live.stop()
        item = self.desk.begin()
        self.desk.read_prompts(item)
        return item

    def edit(
        self, change: Callable[[Session], Any], objects: Iterable[int] = ()
    ) -> None:
        """Change the session, unless a run is under way."""
        item = self.desk.open
        if self.is_busy:
            self.teller.tell("Wait for the run to end, or cancel it first.")
            return
        if item is None:
            return
        self.live.stop()
        try:
            self.desk.read_prompts(item)
        except HqSam2Error as error:
            self.teller.tell(str(error))
        bench = self.desk.bench
        self._submit(
            item, lambda order, _: bench.edit(order, change, objects), self._on_edited
        )

    def _submit(
        self,
        item: OpenImage,
        work: Callable[[Order, Ticket], Outcome],
        on_done: Callable[[Outcome], None],
    ) -> None:
        try:
            self.desk.submit(item, work, on_done, self._on_edit_error)
        except StackError as error:
            self.teller.refuse(str(error))

    def _position(self) -> tuple[int, ...] | None:
        image = self.state.image
        return None if image is None else self.viewer.current_position(image)

    def frame_on_show(self) -> tuple[int, ...]:
        """Leading indices of the frame on show.

        Raises
        ------
        StackError
            There is none.
        """
        position = self._position()
        if position is None:
            msg = (
                "No single frame is on show. Switch to 2D display with the last two "
                "axes of the image on the canvas, or follow through the stack."
            )
            raise StackError(msg)
        return position

    def _go_to_doubt(self, direction: Literal[1, -1]) -> None:
        timeline = self.state.timeline
        frames = () if timeline is None else timeline.frames
        doubtful = [index for index, frame in enumerate(frames) if frame.doubt]
        if timeline is None or not doubtful:
            self.teller.tell(f"Object {self.state.object_id} has no doubtful frames.")
            return
        ahead = [i for i in doubtful if (i - timeline.current) * direction > 0]
        frame = (ahead or doubtful)[0 if direction > 0 else -1]
        self.go_to_frame(frame)
        self.teller.tell(f"Frame {frame}: {frames[frame].doubt}.")

    def _tell_found(self, run: Run, outcome: RunOutcome) -> None:
        number = len(outcome.objects)
        if outcome.was_cancelled:
            self.teller.tell("Cancelled.")
        elif number:
            words = "1 object" if number == 1 else f"{number} objects"
            self.teller.tell(f"Found {words} {run.words}.", severity="done")
            self.state.object_id = outcome.objects[0]
        else:
            self.teller.tell(f"Nothing new was found {run.words}.")

    def _on_edited(self, outcome: Outcome) -> None:
        if outcome.name:
            self.teller.tell(outcome.name)

    def _on_edit_error(self, error: Exception) -> None:
        self.teller.refuse_error(error)

    def _on_script(self, outcome: Outcome) -> None:
        is_copied = self.viewer.copy_text(outcome.text)
        lines = outcome.text.count("\n")
        self.teller.tell(
            f"Copied {lines} lines of Python."
            if is_copied
            else "There is no clipboard."
        )

    def _on_layer_removed(self, layer: Handle) -> None:
        self.runs.stop_for(layer, "was removed")
        self.desk.close_images(layer)

    def _on_data_replaced(self, layer: Handle) -> None:
        if any(layer is choice.handle for choice in self.viewer.images()):
            self.runs.stop_for(layer, "was given other data")
            self.desk.close_images(layer)

    def _on_label_selected(self, layer: Handle, obj_id: int) -> None:
        if layer is self.state.labels and obj_id > 0:
            self.state.object_id = obj_id

    def _on_object_chosen(self) -> None:
        item = self.desk.open
        if item is not None:
            self.viewer.select_label(item.labels, self.state.object_id)
            self.desk.look(item)

    def _on_axis_chosen(self) -> None:
        if self.desk.open is not None:
            self.desk.look(self.desk.open)

    def _on_thinking(self) -> None:
        """Say what to do next, instead of what was loaded."""
        state = self.state
        if not state.is_thinking and state.message.severity == "hint":
            self.layers.hint()

    def _forget_pace(self) -> None:
        self.state.pace = None

    def _on_model_chosen(self) -> None:
        """Give up a resolution that this model has not, and weights of another."""
        self.state.checkpoint = None
        if self.state.resolution not in draft_resolutions(self.state.model):
            self.state.resolution = None
