"""Prompts as they are drawn, on their way into a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_hqsam2.errors import PromptError, SessionError
from napari_hqsam2.plugin.prompt_values import PairPrompts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_hqsam2.plugin.orders import Subject
    from napari_hqsam2.plugin.prompt_values import Pair
    from napari_hqsam2.session.packed_masks import PackedMask
    from napari_hqsam2.session.records import Position
    from napari_hqsam2.session.session import Session


def deliver(subject: Subject) -> tuple[list[Pair], str]:
    """Take over changed prompts; those that cannot be are told in words.

    On accepted frames nothing is taken over: `refused` of the subject says what holds.
    """
    session = subject.session
    changes, hint = subject.mail.take(), ""
    if session is None:
        return [], hint
    done: list[Pair] = []
    for pair, wanted in sorted(changes.items(), key=lambda item: item[0]):
        if is_accepted(session, pair):
            hint = _refuse(session, subject, pair)
            continue
        try:
            _set(session, subject, pair, wanted)
        except (PromptError, SessionError) as error:
            hint = str(error)
        else:
            done.append(pair)
    return done, hint


def deliver_all(subject: Subject) -> None:
    """Take over changed prompts.

    Raises
    ------
    PromptError
        One of them cannot be taken over, or lies on an accepted frame.
    """
    _, hint = deliver(subject)
    if hint:
        raise PromptError(hint)


def ensure_object(session: Session, obj_id: int) -> None:
    """Make an object unless it is there."""
    if obj_id not in session.obj_ids:
        session.new_object(obj_id=obj_id)


def has_prompts(session: Session, obj_id: int, position: Position | None) -> bool:
    """Whether an object has prompts on a frame."""
    is_known = obj_id in session.obj_ids
    return is_known and any(p.position == position for p in session.prompts(obj_id))


def is_accepted(session: Session, pair: Pair) -> bool:
    """Whether an object is accepted on a frame."""
    obj_id, position = pair
    return obj_id in session.obj_ids and position in session.locked(obj_id)


def all_prompts(
    session: Session, objects: Iterable[int] | None = None
) -> dict[Pair, PairPrompts]:
    """Prompts of every object, or of some, on every frame."""
    return {
        (obj_id, item.position): PairPrompts(item.points, item.box, item.mask)
        for obj_id in (session.obj_ids if objects is None else objects)
        for item in session.prompts(obj_id)
    }


def differences(
    before: Mapping[Pair, PairPrompts], after: Mapping[Pair, PairPrompts]
) -> dict[Pair, PairPrompts | None]:
    """Pairs that differ, as they are after."""
    pairs = before.keys() | after.keys()
    return {p: after.get(p) for p in pairs if before.get(p) != after.get(p)}


def _set(
    session: Session,
    subject: Subject,
    pair: Pair,
    wanted: PairPrompts | None,
) -> None:
    obj_id, position = pair
    if wanted is not None:
        ensure_object(session, obj_id)
    elif obj_id not in session.obj_ids:
        return
    mask = None if wanted is None else wanted.mask
    if mask is None and pair not in subject.drawn_masks:
        mask = _mask_of(session, pair)
    session.set_prompts(
        obj_id,
        position,
        points=() if wanted is None else wanted.points,
        box=None if wanted is None else wanted.box,
        mask=mask,
    )
    if wanted is not None and wanted.mask is not None:
        subject.drawn_masks.add(pair)
    else:
        subject.drawn_masks.discard(pair)


def _refuse(session: Session, subject: Subject, pair: Pair) -> str:
    """Let what holds on an accepted frame be drawn again; say why."""
    obj_id, position = pair
    subject.refused[pair] = all_prompts(session, [obj_id]).get(pair)
    names = {item.obj_id: item.name for item in session.objects()}
    where = subject.axes.where(position)
    return (
        f"Accepted at {where}: the prompts of {names[obj_id]} there stay as they were. "
        "K takes that back."
    )


def _mask_of(session: Session, pair: Pair) -> PackedMask | None:
    obj_id, position = pair
    placed = (p for p in session.prompts(obj_id) if p.position == position)
    return next((item.mask for item in placed), None)
