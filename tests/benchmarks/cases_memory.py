"""Bytes of a session, and of the process, as a stack goes by."""

from __future__ import annotations

import gc
from array import array
from collections import deque
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import psutil
import torch
from tests.benchmarks import models, reference, scenes
from tests.benchmarks.measurement import Case, Measurement, Plan, Quantity, Settings
from tests.benchmarks.tracking import Run, reference_session

from napari_hqsam2.predictors.prompt_inputs import new_clicks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari_hqsam2.predictors.session import VideoSession
    from napari_hqsam2.predictors.video_predictor import FrameLogits

STATE_FRAMES, STATE_OBJECTS = 1000, 100
"""What the bytes of a session are stated for."""
SAMPLES = 50
"""How often the memory of the process is looked at."""
PAGE = 4096
SMALL_CACHE = 2**24
REACH = 20
"""Frames after which a ring of memories and pointers is full."""


def bytes_of(root: object) -> int:
    """Bytes of all tensors, arrays and strings of bytes that can be reached.

    Models and frame sources are left out: the first are no state, and what the second
    hold is the user's own.
    """
    seen: dict[int, object] = {}
    total = 0
    stack = [root]
    while stack:
        value = stack.pop()
        storage = value.untyped_storage() if isinstance(value, torch.Tensor) else None
        key = id(value) if storage is None else storage.data_ptr()
        if key not in seen:
            # what is held cannot be freed and its id not be given to another object
            seen[key] = value
            total += storage.nbytes() if storage is not None else _own_bytes(value)
            stack.extend(_parts(value))
    return total


def _own_bytes(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, array):
        return len(value) * value.itemsize
    return len(value) if isinstance(value, bytes | bytearray) else 0


def _parts(value: object) -> Iterable[object]:
    """What a container or a value of ours holds."""
    if isinstance(value, torch.nn.Module) or hasattr(value, "read"):
        return ()
    if isinstance(value, Mapping):
        return value.values()
    if isinstance(value, list | tuple | set | frozenset | deque):
        return value
    if not type(value).__module__.startswith("napari_hqsam2"):
        return ()
    names = {field.name for field in fields(value)} if is_dataclass(value) else set()
    names |= getattr(value, "__dict__", {}).keys()
    return [getattr(value, name) for name in names]


def state(settings: Settings) -> list[Measurement]:
    """Bytes of a session after 1,000 frames x 100 objects.

    Both sides grow evenly once our rings are full, so what was measured on fewer frames
    or objects is carried on, and the note says so.
    """
    plan = settings.plan(
        full=Plan(512, STATE_OBJECTS, 60),
        quick=Plan(512, 8, 40),
        smoke=Plan(128, 2, 24),
    )
    own = Quantity("ours", _our_bytes(plan, settings), "B")
    note = f"ours carried on from {plan.objects} objects x {plan.frames} frames"
    title = (
        f"bytes of a session, {STATE_FRAMES} frames x {STATE_OBJECTS} objects, nano, "
        f"{plan.size} px"
    )
    if not reference.is_installed():
        return [Measurement(title, None, own, note=f"{note}; {reference.MISSING}")]
    frame, object_frame = _reference_growth(plan.size, settings.device)
    theirs = STATE_FRAMES * (frame + STATE_OBJECTS * object_frame)
    note += (
        f"; sam2's multiplied from {object_frame / 1e6:.3f} MB for each object on each "
        f"frame and {frame / 1e6:.2f} MB for each frame, measured on 6 frames; ours is "
        f"{own.value / theirs:.2%} of it"
    )
    return [Measurement(title, Quantity(reference.name(), theirs, "B"), own, note=note)]


def _our_bytes(plan: Plan, settings: Settings) -> float:
    session, frames = _our_run(plan, settings.device)
    counted = []
    for _ in frames:
        # what objects share with the cache of features is no more for more of them
        shared = bytes_of(session.features)
        counted.append((bytes_of(session) - shared, shared))
    late = [objects for objects, _ in counted[min(REACH, len(counted) // 2) :]]
    growth = (late[-1] - late[0]) / max(len(late) - 1, 1)
    objects, shared = counted[-1]
    by_objects = objects + (STATE_FRAMES - plan.frames) * growth
    return shared + by_objects * STATE_OBJECTS / plan.objects


def _our_run(
    plan: Plan, device: torch.device
) -> tuple[VideoSession, Iterator[FrameLogits]]:
    """Track all discs of a lazy stack with the packaged weights."""
    source = scenes.DiscFrames(plan.objects, plan.frames, plan.size)
    predictor = models.predictor("nano", plan.size, device, hq=True)
    session = predictor.init_state(source)
    for number, box in enumerate(source.boxes(), 1):
        prompt = new_clicks(None, None, box, source.hw, plan.size, normalize=True)
        predictor.predict_clicks(session, 0, number, prompt)
    return session, predictor.propagate(session)


@cache
def _reference_growth(size: int, device: torch.device) -> tuple[float, float]:
    """Bytes that sam2's state gains with a frame, and with an object on a frame."""
    by_objects = []
    for objects in (1, 2):
        few, more = (_reference_bytes(size, objects, count, device) for count in (3, 6))
        by_objects.append((more - few) / 3)
    object_frame = by_objects[1] - by_objects[0]
    return by_objects[0] - object_frame, object_frame


def _reference_bytes(size: int, objects: int, frames: int, device: torch.device) -> int:
    predictor = reference.predictor("nano", size, device)
    run = Run("nano", size, scenes.discs(objects, frames, size), device, "box")
    held = reference_session(predictor, run)
    with reference.computing(device):
        for _ in predictor.propagate_in_video(held):
            pass
    return bytes_of(reference.as_stored(held))


def growth(settings: Settings) -> list[Measurement]:
    """Resident memory of the process while a long lazy stack goes by."""
    long = 5000 if settings.device.type == "cuda" else 300
    plan = settings.plan(
        full=Plan(512, STATE_OBJECTS, long),
        quick=Plan(256, 8, 100),
        smoke=Plan(128, 2, 24),
    )
    session, frames = _our_run(plan, settings.device)
    # bounded, and counted full in `state`; here its filling would look like growth
    session.features.budget = SMALL_CACHE
    step = max(plan.frames // SAMPLES, 1)
    process = psutil.Process()
    samples = []
    for number, _ in enumerate(frames):
        if number > min(REACH, plan.frames // 2) and number % step == 0:
            gc.collect()
            samples.append((number, process.memory_info().rss))
    numbers, held = np.array(samples, dtype=float).T
    slope = float(np.polyfit(numbers, held, 1)[0])
    title = f"memory growth, {plan.objects} objects, nano, {plan.size} px"
    note = (
        f"{slope * 1000 / 1e6:.1f} MB for 1,000 frames, fitted to frames "
        f"{samples[0][0]} to {samples[-1][0]}; {held[-1] / 1e6:.0f} MB resident at the "
        f"end, {bytes_of(session) / 1e6:.0f} MB of it the session"
    )
    # less than a page over all samples cannot be seen
    seen = max(slope, PAGE / float(numbers[-1] - numbers[0]))
    own = Quantity("ours, resident", seen, "B/frame")
    if not reference.is_installed():
        return [Measurement(title, None, own, note=f"{note}; {reference.MISSING}")]
    frame, object_frame = _reference_growth(plan.size, settings.device)
    theirs = Quantity(
        f"{reference.name()}, its state", frame + plan.objects * object_frame, "B/frame"
    )
    return [Measurement(title, theirs, own, note=note)]


CASES = (
    Case("state", "bytes of a session, 1,000 frames x 100 objects, nano", state),
    Case("growth", "memory growth, 100 objects, nano", growth),
)
