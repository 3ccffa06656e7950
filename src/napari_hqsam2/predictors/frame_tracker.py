"""All objects of one frame, tracked and remembered in batches."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from napari_hqsam2.predictors.batch_network import BatchNetwork, FrameView
from napari_hqsam2.predictors.device_errors import with_room
from napari_hqsam2.predictors.local_windows import (
    next_window,
    touches_border,
    wider_window,
)
from napari_hqsam2.predictors.memory_bank import (
    MemoryReach,
    archive_masks,
    glimpsed_cells,
)
from napari_hqsam2.predictors.object_batch import group_readings, read_bank
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.session import FORWARD, REVERSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.batch_size import BatchSizes
    from napari_hqsam2.predictors.feature_loader import FeatureLoader
    from napari_hqsam2.predictors.local_windows import Sighting
    from napari_hqsam2.predictors.memory_bank import FrameOutput, MemoryBank
    from napari_hqsam2.predictors.object_batch import Reading
    from napari_hqsam2.predictors.session import ObjectState, VideoSession
    from napari_hqsam2.predictors.tracking_config import TrackingConfig

Item = TypeVar("Item")

CELL_PIXELS = 16
MOST_WIDENINGS = 3
"""Times that an object is predicted anew on a frame, in a wider window."""


def memory_reach(
    model: HqSam2, config: TrackingConfig, session: VideoSession
) -> MemoryReach:
    """How far the frames of a session look back."""
    return MemoryReach(
        num_memories=model.num_memories,
        max_pointers=min(session.num_frames, config.max_object_pointers),
        max_conditioning=config.max_cond_frames_in_attn,
        num_frames=session.num_frames,
    )


@dataclass(frozen=True)
class FrameTracker:
    """Works on many objects at once, with the results that each would get alone."""

    model: HqSam2
    config: TrackingConfig
    loader: FeatureLoader

    def remember_prompts(self, session: VideoSession, sizes: BatchSizes) -> None:
        """Turn results of new prompts into memories.

        Upstream ``propagate_in_video_preflight``.
        """
        waiting = defaultdict(list)
        for obj_id, state in session.objects.items():
            for frame in state.pending:
                waiting[frame].append(obj_id)
        remembered = {
            (obj_id, frame): output
            for frame, obj_ids in waiting.items()
            for obj_id, output in self._remember(session, frame, obj_ids, sizes)
        }
        for obj_id, state in session.objects.items():
            for frame, pending in state.pending.items():
                output = remembered[obj_id, frame]
                if pending.is_conditioning:
                    state.bank.add_conditioning(frame, output)
                else:
                    state.bank.add_tracked(frame, output)
                if self.config.clear_non_cond_mem_around_input:
                    state.bank.clear_around(frame, self.model.num_memories)
            state.pending.clear()

    def _remember(
        self,
        session: VideoSession,
        frame: int,
        obj_ids: Sequence[int],
        sizes: BatchSizes,
    ) -> Iterator[tuple[int, FrameOutput]]:
        embedding = self.loader.features(session, frame).embedding
        remember = partial(self._network(session).remember, embedding)
        results = [session.objects[obj_id].pending[frame] for obj_id in obj_ids]
        cells = embedding.shape[-2] * embedding.shape[-1]
        outputs = self._in_batches(session, remember, results, cells, sizes)
        return zip(obj_ids, outputs, strict=True)

    def remember_tracked(
        self,
        session: VideoSession,
        objects: Iterable[ObjectState],
        reader: int | None,
        sizes: BatchSizes,
    ) -> None:
        """Encode the memories of frames that objects were tracked on last.

        Parameters
        ----------
        session : VideoSession
            The video.
        objects : iterable of ObjectState
            The objects.
        reader : int or None
            Frame that reads next; its own memory, which it does not read, may wait.
        sizes : BatchSizes
            How many objects may be worked on at once.
        """
        groups: dict[tuple[int, int], list[tuple[MemoryBank, int]]] = defaultdict(list)
        for state in objects:
            for frame in state.bank.unencoded(reader):
                cells = glimpsed_cells(state.bank.tracked[frame])
                groups[frame, cells].append((state.bank, frame))
        encode = self._network(session).encode
        for (_, cells), places in groups.items():
            waiting = [bank.tracked[frame] for bank, frame in places]
            outputs = self._in_batches(session, encode, waiting, cells, sizes)
            for (bank, frame), output in zip(places, outputs, strict=True):
                bank.tracked[frame] = output

    def _in_batches(
        self,
        session: VideoSession,
        work: Callable[[Sequence[Item]], list[FrameOutput]],
        items: Sequence[Item],
        cells: int,
        sizes: BatchSizes,
    ) -> list[FrameOutput]:
        device = self.model.device
        outputs: list[FrameOutput] = []
        while len(outputs) < len(items):
            size = sizes.most(cells, tokens=0)
            batch = items[len(outputs) : len(outputs) + size]
            run = partial(self._batch, work, batch, sizes)
            outputs += with_room(session.features, device, run)
        return outputs

    def _batch(
        self,
        work: Callable[[Sequence[Item]], list[FrameOutput]],
        batch: Sequence[Item],
        sizes: BatchSizes,
    ) -> list[FrameOutput]:
        with inference(self.model.device):
            return sizes.run(work, batch)

    def track(
        self,
        session: VideoSession,
        objects: Mapping[int, ObjectState],
        frame: int,
        sizes: BatchSizes,
        is_cancelled: Callable[[], bool],
        *,
        reverse: bool,
    ) -> dict[int, FrameOutput] | None:
        """Results on a frame; prompted frames keep what their prompts gave.

        Parameters
        ----------
        session : VideoSession
            The video; all prompts are remembered.
        objects : mapping
            The objects to track, by id.
        frame : int
            Their frame.
        sizes : BatchSizes
            How many objects may be worked on at once.
        is_cancelled : callable
            Asked before every batch.
        reverse : bool
            Tracking runs towards frame 0.

        Returns
        -------
        dict or None
            Outputs by object id. None if cancelled; then no state has changed.
        """
        self.remember_tracked(session, objects.values(), frame, sizes)
        reach = memory_reach(self.model, self.config, session)
        readings = [
            self._aimed(
                read_bank(obj_id, state.bank, frame, reach, reverse=reverse), frame
            )
            for obj_id, state in objects.items()
            if frame not in state.bank.conditioning
        ]
        tracked: dict[int, FrameOutput] | None = {}
        if readings:
            span = max(reach.pointer, 1)
            run = partial(
                self._found, session, frame, readings, span, sizes, is_cancelled
            )
            tracked = with_room(session.features, self.model.device, run)
        if tracked is None:
            return None
        old = []
        for obj_id, state in objects.items():
            if obj_id in tracked:
                old += state.bank.advance(frame, tracked[obj_id], reach)
            state.directions[frame] = REVERSE if reverse else FORWARD
        archive_masks(old)
        return {
            obj_id: tracked.get(obj_id) or state.bank[frame]
            for obj_id, state in objects.items()
        }

    def _found(
        self,
        session: VideoSession,
        frame: int,
        readings: Sequence[Reading],
        span: int,
        sizes: BatchSizes,
        is_cancelled: Callable[[], bool],
    ) -> dict[int, FrameOutput] | None:
        """What is found on a frame, by object; None if cancelled."""
        features = self.loader.features(session, frame)
        with inference(self.model.device):
            attended = self.model.attend_frame(features.embedding)
            view = FrameView(features, attended, span)
            run = _FrameRun(self._network(session), view, sizes, is_cancelled)
            return run.done if run.complete(readings) else None

    def _network(self, session: VideoSession) -> BatchNetwork:
        return BatchNetwork(self.model, self.config, session)

    def _aimed(self, reading: Reading, frame: int) -> Reading:
        """Look where the object was last, if tracking is local."""
        if self.config.tracking == "exact":
            return reading
        nearest = min(reading.spatial, key=lambda past: abs(past.frame - frame))
        side = self.model.image_size // CELL_PIXELS
        window = next_window(
            nearest.output.sighting, abs(nearest.frame - frame), (side, side)
        )
        return replace(reading, window=window)


class _FrameRun:
    """The objects of one frame on their way through the network."""

    def __init__(
        self,
        network: BatchNetwork,
        view: FrameView,
        sizes: BatchSizes,
        is_cancelled: Callable[[], bool],
    ) -> None:
        self._network = network
        self._view = view
        self._sizes = sizes
        self._is_cancelled = is_cancelled
        self.done: dict[int, FrameOutput] = {}

    def complete(self, readings: Sequence[Reading]) -> bool:
        """Fill `done`; False if cancelled on the way."""
        for attempt in range(MOST_WIDENINGS + 1):
            track = partial(self._track, may_widen=attempt < MOST_WIDENINGS)
            again: list[Reading] = []
            for batch in self._batches(readings):
                if self._is_cancelled():
                    return False
                again += self._sizes.run(track, batch)
            readings = again
        return True

    def _batches(self, readings: Sequence[Reading]) -> Iterator[list[Reading]]:
        for kind, group in group_readings(readings).items():
            cells, tokens = kind.extent(self._view.grid, self._network.pointer_tokens)
            start = 0
            while start < len(group):
                size = self._sizes.most(cells, tokens)
                yield group[start : start + size]
                start += size

    def _track(self, batch: Sequence[Reading], *, may_widen: bool) -> list[Reading]:
        """Track a batch; what is to be done anew."""
        predicted = self._network.predict(self._view, batch)
        wider = [
            self._widened(reading, sighting) if may_widen else None
            for reading, sighting in zip(batch, predicted.sightings, strict=True)
        ]
        rows = [row for row, reading in enumerate(wider) if reading is None]
        outputs = self._network.finish(self._view, predicted[rows])
        for row, output in zip(rows, outputs, strict=True):
            self.done[batch[row].obj_id] = output
        return [reading for reading in wider if reading is not None]

    def _widened(self, reading: Reading, sighting: Sighting | None) -> Reading | None:
        """The reading in a wider window, if the object leaves the one that it has."""
        window, grid = reading.window, self._view.grid
        if window is None or sighting is None or sighting.box is None:
            return None
        if not touches_border(sighting.box, window, grid):
            return None
        return replace(reading, window=wider_window(sighting.box, window, grid))
