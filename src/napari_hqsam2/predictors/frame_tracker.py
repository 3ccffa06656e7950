"""All objects of one frame, tracked and remembered in batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch

from napari_hqsam2.modeling.hqsam2 import OUT_OF_VIEW_LOGIT
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
from napari_hqsam2.predictors.object_batch import (
    group_readings,
    read_bank,
    with_masks,
)
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.session import FORWARD, REVERSE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from torch import Tensor

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.batch_size import BatchSizes
    from napari_hqsam2.predictors.feature_loader import FeatureLoader
    from napari_hqsam2.predictors.local_windows import Sighting
    from napari_hqsam2.predictors.memory_bank import FrameOutput, MemoryBank
    from napari_hqsam2.predictors.object_batch import Reading
    from napari_hqsam2.predictors.session import ObjectState, VideoSession
    from napari_hqsam2.predictors.tracking_config import TrackingConfig

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

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
        for batch in sizes.batches(items, cells, tokens=0):
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
            before = frame + (1 if reverse else -1)
            if self.config.moves_masks and 0 <= before < session.num_frames:
                readings = with_masks(readings, objects, before)
            search = _Search(
                session, frame, before, max(reach.pointer, 1), sizes, is_cancelled
            )
            tracked = self._sought(search, readings, objects)
        if tracked is None:
            return None
        old = []
        for obj_id, state in objects.items():
            if frame in state.bank.conditioning:
                state.is_paused = False
            elif not state.is_paused:
                old += state.bank.advance(frame, tracked[obj_id], reach)
            state.directions[frame] = REVERSE if reverse else FORWARD
        archive_masks(old)
        return {
            obj_id: tracked.get(obj_id) or state.bank[frame]
            for obj_id, state in objects.items()
        }

    def _sought(
        self,
        search: _Search,
        readings: Sequence[Reading],
        objects: Mapping[int, ObjectState],
    ) -> dict[int, FrameOutput] | None:
        """What is found on a frame, by object; None if cancelled.

        Where the model gives no numbers, it is asked again in float32. An object of
        which there are none then either is paused.
        """
        found = self._found(search, readings)
        if found is None or not found.without_numbers():
            return None if found is None else found.done
        missing = found.without_numbers()
        again = [reading for reading in readings if reading.obj_id in missing]
        mended = self._found(search, again, single=True)
        if mended is None:
            return None
        outputs = found.done | mended.done
        for obj_id in mended.without_numbers():
            logger.warning(
                "The model gave no numbers (NaN) for object %d on frame %d, nor in "
                "single precision. It is left as it was and followed no further.",
                obj_id,
                search.frame,
            )
            objects[obj_id].is_paused = True
            outputs[obj_id] = _nothing(outputs[obj_id])
        return outputs

    def _found(
        self, search: _Search, readings: Sequence[Reading], *, single: bool = False
    ) -> _FrameRun | None:
        """The run of a frame when it is done; None if cancelled."""
        session, model = search.session, self.model
        network = replace(self._network(session), single=single)
        features_of = self.loader.single_features if single else self.loader.features

        def find() -> _FrameRun | None:
            features = features_of(session, search.frame)
            with inference(model.device, single=single):
                attended, motion = model.attend_frame(features.embedding), None
                if any(reading.mask is not None for reading in readings):
                    motion = self.loader.motion(session, search.frame, search.before)
                view = FrameView(features, attended, search.pointer_span, motion)
                run = _FrameRun(network, view, search.sizes, search.is_cancelled)
                return run if run.complete(readings) else None

        return with_room(session.features, model.device, find)

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


class _Search(NamedTuple):
    """Where objects are looked for."""

    session: VideoSession
    frame: int
    before: int
    """The frame that was tracked or prompted before."""
    pointer_span: int
    """Frames that pointer distances are counted in."""
    sizes: BatchSizes
    is_cancelled: Callable[[], bool]


def _nothing(output: FrameOutput) -> FrameOutput:
    """What is shown of an object of which the model gave no numbers."""
    low_res = output.low_res
    return replace(
        output,
        low_res=None
        if low_res is None
        else torch.full_like(low_res, OUT_OF_VIEW_LOGIT),
        object_score=torch.full_like(output.object_score, torch.nan),
        iou_score=torch.zeros_like(output.iou_score),
    )


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
        self._obj_ids: list[int] = []
        self._are_numbers: list[Tensor] = []

    def without_numbers(self) -> list[int]:
        """Objects of which the model has said no numbers."""
        if not self._obj_ids:
            return []
        are_numbers = torch.cat(self._are_numbers).tolist()
        return [
            k
            for k, is_one in zip(self._obj_ids, are_numbers, strict=True)
            if not is_one
        ]

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

    def _batches(self, readings: Sequence[Reading]) -> Iterator[Sequence[Reading]]:
        for kind, group in group_readings(readings).items():
            cells, tokens = kind.extent(self._view.grid, self._network.pointer_tokens)
            yield from self._sizes.batches(group, cells, tokens)

    def _track(self, batch: Sequence[Reading], *, may_widen: bool) -> list[Reading]:
        """Track a batch; what is to be done anew."""
        predicted = self._network.predict(self._view, batch)
        wider = [
            self._widened(reading, sighting) if may_widen else None
            for reading, sighting in zip(batch, predicted.sightings, strict=True)
        ]
        rows = [row for row, reading in enumerate(wider) if reading is None]
        found = predicted[rows]
        outputs = self._network.finish(self._view, found)
        self._are_numbers.append(found.prediction.is_finite)
        for row, output in zip(rows, outputs, strict=True):
            self._obj_ids.append(batch[row].obj_id)
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
