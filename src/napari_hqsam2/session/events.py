"""Signals of a session, emitted in the thread that calls it, after the change."""

from __future__ import annotations

from psygnal import Signal, SignalGroup


class SessionEvents(SignalGroup):
    """What has changed."""

    objects = Signal(tuple)
    """Ids of objects that were added, renamed, hidden, shown, given another id, or
    deleted."""
    prompts = Signal(tuple)
    """Ids of objects whose prompts or locked frames changed."""
    labels = Signal(tuple, tuple)
    """Position of a frame, and the (top, left, bottom, right) box of its labels that
    changed."""
    scores = Signal(tuple)
    """Ids of objects whose scores changed."""
    settings = Signal()
    """Settings of the session."""
    history = Signal()
    """What can be undone or redone."""
    autosave = Signal(str)
    """Why the folder of `autosave` cannot be written to; empty once it can again."""
