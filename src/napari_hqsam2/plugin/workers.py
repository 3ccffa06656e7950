"""Qt and napari around the inference thread: its way back, a timer, progress."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from napari.utils import progress
from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, QTimer
from qtpy.QtCore import Signal as QtSignal  # type: ignore[attr-defined]
from qtpy.QtWidgets import QApplication

from napari_hqsam2.plugin.live import DEBOUNCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_hqsam2.plugin.state import PluginState, RunStatus


class MainThread(QObject):
    """Lets the thread it was made in call functions, in order, one after the other.

    It has no parent, so that it is there as long as a thread may post.
    """

    _posted = QtSignal()

    def __init__(self) -> None:
        super().__init__()
        self._due: deque[Callable[[], None]] = deque()
        self._is_calling = False
        self._num_put_off = 0
        self._posted.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def post(self, callback: Callable[[], None]) -> None:
        """Call from any thread; returns at once."""
        self._due.append(callback)
        self._posted.emit()

    def _call(self) -> None:
        """Call the next one, unless the one before is still under way.

        Functions may let Qt process events, as napari's progress bars do.
        """
        if self._is_calling:
            self._num_put_off += 1
            return
        self._is_calling = True
        try:
            self._due.popleft()()
        finally:
            self._is_calling = False
            again, self._num_put_off = self._num_put_off, 0
            for _ in range(again):
                self._posted.emit()


class QtTimer:
    """Calls something once, a while after it was last started.

    Parameters
    ----------
    callback
        What to call.
    """

    def __init__(self, callback: Callable[[], None]) -> None:
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(DEBOUNCE)
        self._timer.timeout.connect(callback)

    def start(self) -> None:
        """Begin to wait, anew if it does already."""
        self._timer.start()

    def stop(self) -> None:
        """Do not call; without effect once Qt has gone."""
        if isalive(self._timer):  # type: ignore[no-untyped-call]
            self._timer.stop()


def copy_text(text: str) -> bool:
    """Put a text on the clipboard; False where there is none."""
    clipboard = QApplication.clipboard()
    if clipboard is None:
        return False
    clipboard.setText(text)
    return True


class ProgressBar:
    """Shows the state of a run in napari's activity dock.

    Parameters
    ----------
    state
        Its `run` is followed until `close`.
    """

    def __init__(self, state: PluginState) -> None:
        self._state = state
        self._bar: progress | None = None
        state.events.run.connect(self._on_run)

    def close(self) -> None:
        """Remove the bar and stop following."""
        self._state.events.run.disconnect(self._on_run)
        self._remove()

    def _on_run(self, run: RunStatus) -> None:
        if not run.is_busy:
            self._remove()
            return
        if self._bar is None:
            self._bar = progress(total=run.total, desc="HQ-SAM 2")
        if run.total != self._bar.total:
            self._bar.total = run.total
        self._bar.update(run.done - self._bar.n)

    def _remove(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
