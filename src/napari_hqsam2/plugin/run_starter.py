"""From what the user has chosen to a run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from napari_hqsam2.errors import HqSam2Error, PromptError, StackError
from napari_hqsam2.plugin.orders import Leg
from napari_hqsam2.plugin.resolve import count_words, range_words, session_options
from napari_hqsam2.plugin.runs import Run
from napari_hqsam2.segmentation.prompt_groups import resolve_frames

if TYPE_CHECKING:
    from napari_hqsam2.plugin.controller import PluginController
    from napari_hqsam2.plugin.orders import RunOutcome
    from napari_hqsam2.session.settings import RunOptions

Scope = Literal["frame", "stack"]


class RunStarter:
    """Checks the choices and starts runs with them.

    Parameters
    ----------
    main
        Controller of the widget.
    """

    def __init__(self, main: PluginController) -> None:
        self._main = main

    def attempt(self, scope: Scope) -> bool:
        """Start a run; False (and a message) if that cannot be done."""
        main = self._main
        if main.is_busy:
            return False
        try:
            self.start(scope)
        except (PromptError, StackError) as error:
            if main.state.message.text != str(error):
                main.teller.refuse(str(error))
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
        main, state = self._main, self._main.state
        item, axis = main.begin(), state.axis
        if scope == "frame" or axis is None:
            position = main.frame_on_show()
            run = Run(item, f"on {item.subject.axes.where(position)}", total=1)
            work = partial(main.desk.run_tasks.segment, position=position)
            return main.runs.launch(run, work)
        frames = state.frames or (0, item.subject.axes.stack.length(axis))
        axes, then = item.subject.axes, state.then_axis
        run = Run(item, range_words(axes, axis, frames, then))
        legs = [Leg(axis, self._run_options())]
        if then is not None:
            start = main.frame_on_show()[axes.stack.leading.index(then)]
            legs.append(Leg(then, self._hand_over(start)))
        work = partial(
            main.desk.run_tasks.follow,
            legs=legs,
            on_step=partial(main.runs.on_step, run),
        )
        return main.runs.launch(run, work)

    def propose_everything(self) -> None:
        """Make an object of everything that is found on the frame on show."""
        main = self._main
        if main.is_busy:
            return
        try:
            item = main.begin()
            position = main.frame_on_show()
        except HqSam2Error as error:
            main.teller.refuse(str(error))
            return
        first = main.layers.unused_id()
        run = Run(item, f"on {item.subject.axes.where(position)}")
        work = partial(
            main.desk.run_tasks.find_all,
            position=position,
            first_id=first,
            on_part=partial(main.runs.on_part, run),
        )
        main.runs.launch(run, work, self._tell_found)

    def _check_before_labels_are_made(self) -> None:
        state, snapshot = self._main.state, self._main.desk.snapshot()
        session_options(snapshot, state)
        stack = snapshot.axes.stack
        if state.axis is not None:
            stack.propagation_axis(state.axis)
            resolve_frames(state.frames, stack, state.axis)
        elif state.frames is not None:
            msg = (
                f"frames={state.frames} is a range of a stack, but '{snapshot.name}' "
                f"({stack.described}) is one image. Leave the frames out."
            )
            raise StackError(msg)
        layers = [layer for layer in (state.points, state.shapes) if layer is not None]
        if not state.objects and not sum(map(self._main.viewer.num_prompts, layers)):
            msg = (
                "There is no prompt yet. Click on an object in a Points layer, or draw "
                "a rectangle around it in a Shapes layer."
            )
            raise PromptError(msg)

    def _run_options(self) -> RunOptions:
        state = self._main.state
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

    def _tell_found(self, run: Run, outcome: RunOutcome) -> None:
        main = self._main
        if outcome.was_cancelled:
            main.teller.tell("Cancelled.")
        elif outcome.objects:
            words = count_words(len(outcome.objects), "object")
            told = f"Found {words} {run.words}. Del in the list takes a wrong one out."
            main.teller.tell(told, severity="done")
            main.state.object_id = outcome.objects[0]
        else:
            main.teller.tell(f"Nothing new was found {run.words}.")
