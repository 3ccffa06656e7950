"""What the plugin does, without Qt and without napari."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_hqsam2.configs.resolution import draft_resolutions
from napari_hqsam2.errors import HqSam2Error, StackError
from napari_hqsam2.plugin.choices import LayerKeeper
from napari_hqsam2.plugin.costs import CostBook
from napari_hqsam2.plugin.desk import Desk
from napari_hqsam2.plugin.hand_painting import HandPainting
from napari_hqsam2.plugin.hover import Hover
from napari_hqsam2.plugin.inference import Task
from napari_hqsam2.plugin.live import Live, NoTimer
from napari_hqsam2.plugin.model_window import ModelWindow
from napari_hqsam2.plugin.object_verbs import ObjectVerbs
from napari_hqsam2.plugin.prompt_sources import PromptSources
from napari_hqsam2.plugin.recovery_offer import RecoveryOffer
from napari_hqsam2.plugin.review import Review
from napari_hqsam2.plugin.run_starter import RunStarter
from napari_hqsam2.plugin.runs import Runs, Teller
from napari_hqsam2.plugin.session_files import SessionFiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hqsam2.plugin.inference import Inference, Ticket
    from napari_hqsam2.plugin.live import Timer
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.open_images import OpenImage
    from napari_hqsam2.plugin.orders import Order, Outcome
    from napari_hqsam2.plugin.recovery import RecoveryFolder
    from napari_hqsam2.plugin.snapshots import Handle
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort
    from napari_hqsam2.session.session import Session


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
    costs
        What earlier runs have taken; None knows of none.
    recovery
        Where work is kept that nobody has saved; None keeps none.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        inference: Inference,
        engine: Engine,
        make_timer: Callable[[Callable[[], None]], Timer] = NoTimer,
        costs: CostBook | None = None,
        recovery: RecoveryFolder | None = None,
    ) -> None:
        self.state = state
        self.viewer = viewer
        self._inference = inference
        self.desk = Desk(state, viewer, inference, engine, recovery)
        self.teller = Teller(state, viewer)
        self.costs = costs or CostBook()
        self.runs = Runs(state, viewer, self.desk, self.teller, self.costs)
        self.layers = LayerKeeper(state, viewer)
        self.live = Live(state, viewer, self.desk, make_timer)
        self._hover = Hover(state, viewer, self.desk, make_timer)
        self._model_window = ModelWindow(state, viewer, self.desk, make_timer)
        self.starter = RunStarter(self)
        self.objects = ObjectVerbs(self)
        self.review = Review(self)
        self.sources = PromptSources(self)
        self.files = SessionFiles(self)
        self.painting = HandPainting(self)
        self.recovery = RecoveryOffer(self, inference, recovery)
        events = viewer.events
        events.layer_removed.connect(self._on_layer_removed)
        events.data_replaced.connect(self._on_data_replaced)
        events.label_selected.connect(self._on_label_selected)
        state.events.model.connect(self._on_model_chosen)
        state.events.object_id.connect(self._on_object_chosen)
        for event in (state.events.image, state.events.labels):
            event.connect(self.desk.display.show)
        state.events.axis.connect(self._on_axis_chosen)
        state.events.is_thinking.connect(self._on_thinking)

    @property
    def is_busy(self) -> bool:
        """Whether a run is under way."""
        return self.runs.is_busy

    def segment_frame(self) -> bool:
        """Segment the frame on show; False (and a message) if that cannot be done."""
        return self.starter.attempt("frame")

    def segment_stack(self) -> bool:
        """Follow objects through the stack; False (and a message) if it cannot be."""
        return self.starter.attempt("stack")

    def cancel(self) -> None:
        """Stop the run after the present frame; finished frames stay."""
        self.runs.cancel()

    def add_prompt_layers(self) -> None:
        """Make layers for prompts, and get ready for the first one.

        Prompts of layers that were removed are drawn again.
        """
        self.layers.add_prompt_layers()
        self.desk.draw_left()
        self.layers.hint()
        if self.state.live and self.state.points is not None:
            self.live.warm_up()

    def flip_polarity(self) -> None:
        """Let new points lie on what is to be left out, or on the object again.

        Points that are selected with the arrow tool are flipped instead.
        """
        points = self.state.points
        if points is None or not self.viewer.flip_selected(points):
            self.state.positive = not self.state.positive

    def choose_labels(self, labels: Handle | None) -> None:
        """Work in a Labels layer; None is a new one, with nothing in it."""
        told = ""
        if labels is None and self.state.labels is None:
            told = self.desk.start_afresh()
            self.recovery.look()
        self.state.labels = labels
        if told:
            self.teller.refuse(told)
        elif labels is None and self.desk.open is None:
            self.layers.hint_at_new_labels()

    def toggle_view(self) -> None:
        """Show what the model sees of the frame on show, or hide it again."""
        if self.state.image is None:
            self.layers.hint()
        else:
            self.state.shows_view = not self.state.shows_view

    def suspend(self) -> None:
        """Cancel and free the model's memory, while nobody sees the widget."""
        self.cancel()
        self._inference.submit(Task(lambda _: self.desk.sessions.release()))

    def close(self, *, keep_model: bool = False) -> None:
        """Cancel, stop listening, and let go of the model unless others use it."""
        self.runs.forget()
        events = self.viewer.events
        events.layer_removed.disconnect(self._on_layer_removed)
        events.data_replaced.disconnect(self._on_data_replaced)
        events.label_selected.disconnect(self._on_label_selected)
        self.live.close()
        self._hover.close()
        self._model_window.close()
        self.painting.close()
        self.recovery.close()
        self.layers.close()
        self.viewer.close()
        self.desk.close(keep_model=keep_model)

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
        item, bench = self.ready_to_edit(), self.desk.bench
        if item is not None:
            self.submit(
                item,
                lambda order, _: bench.edit(order, change, objects),
                self._on_edited,
            )

    def ready_to_edit(self) -> OpenImage | None:
        """The image that is worked on, its prompts read; None (and why) in a run."""
        item = self.desk.open
        if self.is_busy:
            self.teller.tell("Wait for the run to end, or cancel it first.")
            return None
        if item is None:
            return None
        self.live.stop()
        try:
            item = self.desk.begin() if item.is_loose else item
            self.desk.read_prompts(item)
        except HqSam2Error as error:
            self.teller.tell(str(error))
        return item

    def submit(
        self,
        item: OpenImage,
        work: Callable[[Order, Ticket], Outcome],
        on_done: Callable[[Outcome], None],
    ) -> None:
        """Hand in a short task on an image; what goes wrong is told."""
        try:
            self.desk.submit(item, work, on_done, self._on_edit_error)
        except StackError as error:
            self.teller.refuse(str(error))

    def position_on_show(self) -> tuple[int, ...] | None:
        """Leading indices of the frame on show; None if there is none."""
        image = self.state.image
        return None if image is None else self.viewer.current_position(image)

    def frame_on_show(self) -> tuple[int, ...]:
        """Leading indices of the frame on show.

        Raises
        ------
        StackError
            There is none.
        """
        position = self.position_on_show()
        if position is None:
            msg = (
                "No single frame is on show. Switch to 2D display with the last two "
                "axes of the image on the canvas, or follow through the stack."
            )
            raise StackError(msg)
        return position

    def _on_edited(self, outcome: Outcome) -> None:
        if outcome.name:
            self.teller.tell(outcome.name)

    def _on_edit_error(self, error: Exception) -> None:
        self.teller.refuse_error(error)

    def _on_layer_removed(self, layer: Handle) -> None:
        self.runs.stop_for(layer, "was removed")
        told = self.desk.lose_layer(layer)
        if told and not self.is_busy:
            self.teller.tell(told)

    def _on_data_replaced(self, layer: Handle) -> None:
        if not self.desk.has_labels_in(layer):
            self.runs.stop_for(layer, "was given other data")
        told = self.desk.take_data(layer)
        if told:
            self.teller.refuse(told)

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

    def _on_model_chosen(self) -> None:
        """Give up a resolution that this model has not, and weights of another."""
        self.state.checkpoint = None
        if self.state.resolution not in draft_resolutions(self.state.model):
            self.state.resolution = None
