"""Between the state of the widget and the workbench: orders go out, reports come in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from napari_hqsam2.errors import PromptError, StackError
from napari_hqsam2.plugin.display import Display
from napari_hqsam2.plugin.error_words import error_words
from napari_hqsam2.plugin.inference import Task
from napari_hqsam2.plugin.keeping import WorkKeeper
from napari_hqsam2.plugin.open_images import OpenImages
from napari_hqsam2.plugin.open_sessions import OpenSessions
from napari_hqsam2.plugin.orders import Order
from napari_hqsam2.plugin.prompt_sync import PromptSync
from napari_hqsam2.plugin.resolve import (
    check_labels,
    count_words,
    session_options,
    stain_limits,
    words_on_removal,
)
from napari_hqsam2.plugin.run_tasks import RunTasks
from napari_hqsam2.plugin.state import Message
from napari_hqsam2.plugin.workbench import Workbench
from napari_hqsam2.segmentation.mixing import Mix, MixChannel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_hqsam2.plugin.inference import Inference, Ticket
    from napari_hqsam2.plugin.keeping import Keeping
    from napari_hqsam2.plugin.models import Engine
    from napari_hqsam2.plugin.open_images import OpenImage
    from napari_hqsam2.plugin.orders import Outcome, Subject
    from napari_hqsam2.plugin.recovery import RecoveryFolder
    from napari_hqsam2.plugin.snapshots import Handle, ImageSnapshot
    from napari_hqsam2.plugin.state import PluginState
    from napari_hqsam2.plugin.viewer_port import ViewerPort

Answer = TypeVar("Answer")


class Desk:
    """Knows which image is worked on, and hands tasks on it to the inference thread.

    Parameters
    ----------
    state
        Choices; objects, timeline and names of steps are written to it.
    viewer
        Where the layers are.
    inference
        Carries out tasks.
    engine
        Where sessions and models come from.
    recovery
        Where work is kept that nobody has saved; None keeps none.
    """

    def __init__(
        self,
        state: PluginState,
        viewer: ViewerPort,
        inference: Inference,
        engine: Engine,
        recovery: RecoveryFolder | None = None,
    ) -> None:
        self._state = state
        self._viewer = viewer
        self._inference = inference
        self.sync = PromptSync(state, viewer)
        self._keeps = recovery is not None
        self._reported: Message | None = None
        """What a task has told of itself last."""
        self._before = state.message
        """What was said before."""
        self.sessions = OpenSessions(engine, WorkKeeper(recovery))
        self.bench = Workbench(self.sessions)
        self.run_tasks = RunTasks(self.sessions, engine)
        self._images = OpenImages(state, viewer, inference.tell)
        self.display = Display(state, viewer, self._images, self.sync, self.look)
        state.events.keeps_work.connect(self._keep_all)

    @property
    def open(self) -> OpenImage | None:
        """The image that is chosen, if it has been worked on with its labels."""
        return self._images.open

    def snapshot(self) -> ImageSnapshot:
        """Read the chosen image.

        Raises
        ------
        StackError
            There is none, or it cannot be segmented.
        """
        if self._state.image is None:
            msg = (
                "There is no image layer yet. Open an image, or drop one on the viewer."
            )
            raise StackError(msg)
        return self._viewer.snapshot_image(self._state.image)

    def begin(self, *, is_new: bool = False) -> OpenImage:
        """Open the chosen image, with new labels if none are chosen.

        Parameters
        ----------
        is_new
            Whether labels whose layer was removed are not to come back.

        Raises
        ------
        StackError
            The image cannot be segmented, or the labels do not fit it.
        """
        state, snapshot = self._state, self.snapshot()
        session_options(snapshot, state)
        if state.labels is not None:
            labels = self._viewer.snapshot_labels(state.labels, state.image)
            check_labels(labels, snapshot)
        item = self._images.begin(snapshot, is_new=is_new)
        self.display.hide(item)
        return item

    def lose_layer(self, layer: Handle) -> str:
        """Follow the removal of a layer: work on an image that is gone is dropped.

        Labels that are gone stay in their session.

        Returns
        -------
        str
            What is kept, for the user; empty if nothing was lost.
        """
        dropped = self._images.drop_image(layer)
        keeps = self._keeps and self._state.keeps_work
        lost = _count_objects(x for x in dropped if not (keeps or x.subject.is_kept))
        left = _count_objects(x for x in dropped if not x.subject.is_saved) - lost
        self._forget_all(dropped)
        loose = self._images.loosen(layer)
        self.display.show()
        return words_on_removal(lost=lost, left=left, loose=_count_objects(loose))

    def has_labels_in(self, layer: Handle) -> bool:
        """Whether a layer holds what can be the labels of a session in it."""
        return any(
            item.labels is layer and item.fits(self._viewer.label_array(layer))
            for item in self._images
        )

    def take_data(self, layer: Handle) -> str:
        """Follow a layer that was given other data.

        Work on an image with other pixels is dropped; labels of the same shape are
        those of the session from now on, others are not.

        Returns
        -------
        str
            What has become of labels of another shape, for the user.
        """
        self._forget_all(self._images.drop_image(layer))
        told = ""
        for item in self._images:
            if item.labels is not layer or item.is_loose:
                continue
            array = self._viewer.label_array(layer)
            if self.has_labels_in(layer):
                item.array = array
                self._save_again(item)
                continue
            is_open = self.open is item
            labels = self._images.house(item)
            self.display.hide(item)
            if is_open:
                self._state.labels = labels
            told = (
                f"The Labels layer was given data of shape {np.shape(array)}. The "
                "objects are in a new layer."
            )
        self.display.show()
        return told

    def start_afresh(self) -> str:
        """Let the next labels be new, though there are some whose layer is gone.

        Returns
        -------
        str
            What would be lost, for the user, if nothing has changed but that this was
            told: it is lost the next time. Empty if the next labels are new.
        """
        lost = [x for x in self._images.loose() if x.rows and not x.subject.is_kept]
        if not all(item.may_go for item in lost):
            for item in lost:
                item.may_go = True
            objects = _count_objects(lost)
            return (
                f"{count_words(objects, 'object')} of the removed layer "
                f"{'is' if objects == 1 else 'are'} saved nowhere. Save the work first "
                "(Save as ▸ Session), or choose “new layer” once more to drop it."
            )
        self._forget_all(self._images.drop_loose())
        self.display.show()
        return ""

    def read_prompts(self, item: OpenImage) -> bool:
        """Put changed prompts into the mail; tell whether there are any.

        Raises
        ------
        PromptError
            A prompt cannot be used.
        StackError
            The labels cannot hold an object.
        """
        changes = self.sync.changes(item.memory, item.subject.axes)
        if changes:
            largest = max(obj_id for obj_id, _ in changes)
            with self._viewer.events.data_replaced.blocked():
                notice = self._viewer.make_room(item.labels, largest)
            item.array = self._viewer.label_array(item.labels)
            if notice:
                self._viewer.notify(notice)
                self._viewer.select_label(item.labels, self._state.object_id)
            item.subject.mail.put(changes)
        return bool(changes)

    def draw_left(self) -> None:
        """Draw the prompts of the chosen image whose layers were removed."""
        item = self.open
        if item is not None:
            try:
                self.sync.draw_left(item.memory, item.subject.axes)
            except PromptError as error:
                self._state.message = Message(str(error), "problem")

    def order(self, item: OpenImage) -> Order:
        """What a task on an image is told.

        Raises
        ------
        StackError
            The image cannot be segmented with the present choices.
        """
        image = self._viewer.snapshot_image(item.image)
        options = session_options(image, self._state, self._mix(item))
        return Order(
            item.subject,
            options,
            self.display.line(item),
            self._viewer.current_position(item.image),
            self._on_report,
            self._state.overlap,
            self._state.keeps_work,
            stain_limits=stain_limits(image, options),
        )

    def _mix(self, item: OpenImage) -> Mix | None:
        """Layers as colours, if that is wanted."""
        layers = self._state.mix
        if layers is None or item.image is not self._state.image:
            return None

        def channel(layer: Handle | None) -> MixChannel | None:
            if layer is None:
                return None
            seen = self._viewer.snapshot_image(layer)
            stack = None if layer is item.image else seen.data
            return MixChannel(stack, seen.contrast_limits, seen.gamma, seen.name)

        return Mix(*map(channel, layers))

    def submit(
        self,
        item: OpenImage,
        work: Callable[[Order, Ticket], Outcome],
        on_done: Callable[[Any], None],
        on_error: Callable[[Exception], None],
        key: str = "",
        *,
        is_background: bool = False,
    ) -> Ticket:
        """Hand in a task on an image."""
        order = self.order(item)

        def done(outcome: Outcome) -> None:
            self.take(item, outcome)
            on_done(outcome)
            self._end_report()
            self.keep(item)

        task = Task(partial(work, order), done, on_error, key, is_background)
        return self._inference.submit(task)

    def ask(
        self,
        look: Callable[[], Answer],
        on_done: Callable[[Answer], None],
        on_error: Callable[[Exception], None],
        key: str,
    ) -> None:
        """Hand in a question that changes nothing, for when there is nothing to do."""
        task = Task(lambda _: look(), on_done, on_error, key, is_background=True)
        self._inference.submit(task)

    def keep(self, item: OpenImage) -> None:
        """Let work be kept that nobody has saved, when there is nothing else to do."""
        try:
            order = self.order(item)
        except StackError:
            return
        if not self._keeps or item not in self._images:
            return

        def done(keeping: Keeping) -> None:
            if keeping.has_more:
                self.keep(item)
            if keeping.problem and keeping.problem != item.told:
                item.told = keeping.problem
                self._state.message = Message(keeping.problem, "problem")
                self._viewer.notify(keeping.problem, is_problem=True)

        self._inference.submit(
            Task(
                lambda _: self.sessions.keep(order),
                done,
                key=f"keep {id(item)}",
                is_background=True,
            )
        )

    def _keep_all(self) -> None:
        for item in self._images:
            self.keep(item)

    def take(self, item: OpenImage, outcome: Outcome) -> None:
        """Show what came of a task."""
        if item not in self._images:
            return
        self.display.draw_again(item, outcome.prompts)
        self.display.take_report(item, outcome.report)
        if not outcome.report.is_complete:
            self.look(item)

    def look(self, item: OpenImage) -> None:
        """Let rows and timeline be made when there is nothing else to do."""
        try:
            order = self.order(item)
        except StackError:
            return
        self._inference.submit(
            Task(
                lambda _: self.bench.look(order),
                partial(self.take, item),
                key="look",
                is_background=True,
            )
        )

    def close(self, *, keep_model: bool = False) -> None:
        """Let go of everything, once the present task has stopped."""
        self._images.clear()
        self._inference.close(partial(self.sessions.close, keep_model=keep_model))

    def _forget_all(self, items: Iterable[OpenImage]) -> None:
        for item in items:
            forget = partial(self._forget, item.subject)
            self._inference.submit(Task(forget))

    def _forget(self, subject: Subject, _: Ticket) -> None:
        self.sessions.forget(subject)

    def _save_again(self, item: OpenImage) -> None:
        """Let whoever saves the session know that all labels may have changed."""
        self.submit(
            item,
            lambda order, _: self.bench.save_again(order),
            self._tell_hint,
            self._tell_error,
            f"save {id(item)}",
            is_background=True,
        )

    def _tell_hint(self, outcome: Outcome) -> None:
        if outcome.hint:
            self._state.message = Message(outcome.hint, "problem")

    def _tell_error(self, error: Exception) -> None:
        self._state.message = Message(error_words(error), "problem")

    def _on_report(self, text: str) -> None:
        if self._state.message is not self._reported:
            self._before = self._state.message
        self._state.message = self._reported = Message(f"{text} …")
        self._viewer.show_status(f"{text} …")

    def _end_report(self) -> None:
        """Say again what was said, if a task that is done has not said more."""
        if self._state.message is self._reported:
            self._state.message = self._before
            self._viewer.show_status(self._before.text)


def _count_objects(items: Iterable[OpenImage]) -> int:
    return sum(len(item.rows) for item in items)
