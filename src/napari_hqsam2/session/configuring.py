"""Settings of a session, and the model that they stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from napari_hqsam2.errors import SessionError
from napari_hqsam2.session.prompt_editing import PromptEditing
from napari_hqsam2.session.script import call
from napari_hqsam2.session.tracker import Tracker

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_hqsam2.modeling.outputs import HqMode
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.segmentation.options import StackSettings
    from napari_hqsam2.session.history import Step
    from napari_hqsam2.session.settings import SessionOptions
    from napari_hqsam2.session.stacks import SessionStack


class SessionSettings(PromptEditing):
    """Prompts, and the model that will answer them.

    Parameters
    ----------
    stack, labels, history_bytes
        As in `SessionCore`.
    settings
        As in `Tracker`, and the use of the high-quality mask.
    """

    def __init__(
        self,
        stack: SessionStack,
        settings: StackSettings,
        labels: Any,
        history_bytes: int,
    ) -> None:
        super().__init__(stack, labels, history_bytes)
        self._records.settings.put(0, (), settings)
        self._tracker = Tracker(stack, settings)

    @property
    def settings(self) -> StackSettings:
        """Settings of the session as they are now."""
        return self._records.settings.of(0)[()]

    def configure(self, **options: Unpack[SessionOptions]) -> None:
        """Change settings; what is in the labels stays as it is.

        Raises
        ------
        ValueError
            A value is impossible.
        SessionError
            A model was passed as an object: only the first one can be.
        """
        if not isinstance(options.get("model", ""), str):
            msg = (
                "configure() takes a model by its name, so that the session can be "
                "saved and repeated; hand over a loaded one with use_model()."
            )
            raise SessionError(msg)
        with self._step("settings", call("configure", **options)) as step:
            settings = replace(self.settings, **options)
            step.put(self._records.settings, 0, (), settings)
            self._settle(step)

    def use_model(self, predictor: SAM2VideoPredictor) -> None:
        """Take a loaded model, that of the settings, which sessions may share.

        Parameters
        ----------
        predictor
            What `load_model` gives for ``session.settings.model``. It is used until a
            setting changes that concerns the model.
        """
        with self._turn():
            self._tracker.use(predictor)

    def _hq_modes(
        self, obj_ids: Iterable[int], asked: HqMode | None = None
    ) -> dict[int, HqMode]:
        """How masks are made: as asked, else as each object says, or the session."""
        modes = {}
        for obj_id in obj_ids:
            item = self._records.objects.get(obj_id, ())
            own = None if item is None else item.hq_mode
            modes[obj_id] = asked or own or self.settings.hq_mode
        return modes

    def _settle(self, step: Step) -> None:
        if step.touched(self._records.settings):
            settings = self.settings
            self._stack.show(settings)
            self._tracker.configure(settings)
