"""From frames of a session to image features, now or ahead of time."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor

from napari_hqsam2.errors import DeviceMemoryError
from napari_hqsam2.modeling.image_motion import image_motion, to_picture
from napari_hqsam2.modeling.outputs import ImageFeatures
from napari_hqsam2.predictors.compilation import is_compiled
from napari_hqsam2.predictors.device_errors import check_works, with_room
from napari_hqsam2.predictors.frame_source import read_seen
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.prefetch import Prefetcher, one_thread
from napari_hqsam2.predictors.transforms import to_video_image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.predictors.feature_store import FeatureStore
    from napari_hqsam2.predictors.session import VideoSession

Loaded: TypeAlias = Tensor | ImageFeatures
"""A frame that was loaded ahead: a model image, or its features already."""


class FeatureLoader:
    """Reads and encodes frames, in any thread.

    Parameters
    ----------
    model : HqSam2
        Whose image encoder is used.
    store : FeatureStore, optional
        Where features are kept on the disk; compiled models, and those on a GPU, keep
        none.

    Notes
    -----
    Only one thread at a time reads frames, and only one encodes: what the encoder
    caches on an accelerator is complete before another stream meets it.
    """

    def __init__(self, model: HqSam2, store: FeatureStore | None = None) -> None:
        self._model = model
        self.store = store
        self._reading = threading.Lock()
        self._encoding = threading.Lock()
        # cuDNN plans the attention of every shape anew in every thread, and every
        # stream keeps memory of its own: the first run makes both, for all others
        self._thread = one_thread("encode")
        self._stream: torch.cuda.Stream | None = None

    def features(self, session: VideoSession, frame: int) -> ImageFeatures:
        """Image features of a frame, from the session's cache if they are there.

        Raises
        ------
        ValueError
            If the session was made for a model of another resolution.
        DeviceMemoryError
            If there is no memory for them, even if no others are kept on the device.
        """
        session.check_image_size(self._model.image_size)
        features = session.features.get(frame)
        if features is None:
            features = with_room(
                session.features,
                self._model.device,
                lambda: self._seen(session, self._read(session, frame)),
            )
            session.features.put(frame, features)
        return features.to(self._model.device)

    def single_features(self, session: VideoSession, frame: int) -> ImageFeatures:
        """Features in float32; computed so, if those that are kept are no numbers."""
        features = self.features(session, frame).to(dtype=torch.float32)
        if not features.is_finite:
            image = self._read(session, frame)
            features = self._seen(session, image, single=True)
            session.features.put(frame, features)
        return features

    def motion(self, session: VideoSession, now: int, before: int) -> Tensor:
        """(1, 2, H, W) how the image has moved from one frame to another."""
        with torch.autocast(self._model.device.type, enabled=False):
            now_seen, seen = (self._picture(session, frame) for frame in (now, before))
            return image_motion(now_seen, seen)

    def _picture(self, session: VideoSession, frame: int) -> Tensor:
        features = session.features.get(frame)
        if features is None or features.picture is None:
            return to_picture(self._read(session, frame))
        return features.picture.to(self._model.device)

    def _seen(
        self, session: VideoSession, image: Tensor, *, single: bool = False
    ) -> ImageFeatures:
        """Features of an image, with what a session sees its motion in."""
        features = self.encode(image, single=single)
        return _pictured(features, image) if session.moves_masks else features

    def prefetcher(
        self,
        session: VideoSession,
        frames: Sequence[int],
        depth: int,
        is_wanted: Callable[[int], bool],
    ) -> Prefetcher[Loaded]:
        """Load frames ahead; give what comes to `accept`.

        An accelerator encodes ahead in a stream of its own. A CPU only reads ahead:
        encoding would take the cores from what is tracked. Where memory is short,
        nothing is encoded ahead.
        """
        session.check_image_size(self._model.image_size)
        device = self._model.device
        check_works(device)
        if device.type != "cuda":
            return Prefetcher(
                lambda frame: self._read(session, frame), frames, depth, is_wanted
            )
        stream = self._stream_on(device)
        stream.wait_stream(torch.cuda.current_stream(device))

        def encode(frame: int) -> Loaded:
            with torch.cuda.stream(stream):
                image = self._read(session, frame)
                if not session.features.is_on_host:
                    with suppress(DeviceMemoryError):
                        return self._seen(session, image)
            stream.synchronize()
            return image

        return Prefetcher(encode, frames, depth, is_wanted, self._thread)

    def _stream_on(self, device: torch.device) -> torch.cuda.Stream:
        if self._stream is None or self._stream.device != device:
            self._stream = torch.cuda.Stream(device)
        return self._stream

    def accept(self, session: VideoSession, frame: int, loaded: Loaded) -> None:
        """Put the features of a frame that was loaded ahead into the cache."""
        if isinstance(loaded, Tensor):
            image = loaded
            if image.is_cuda:
                image.record_stream(torch.cuda.current_stream(image.device))
            loaded = with_room(
                session.features, self._model.device, lambda: self._seen(session, image)
            )
        elif loaded.embedding.is_cuda:
            stream = torch.cuda.current_stream(loaded.embedding.device)
            for tensor in loaded.tensors:
                tensor.record_stream(stream)
        session.features.put(frame, loaded)

    def _read(self, session: VideoSession, frame: int) -> Tensor:
        with self._reading:
            pixels = read_seen(session.frames, frame, None, self._model.image_size)
        size, device = self._model.image_size, self._model.device
        return to_video_image(pixels, session.contrast_limits, size, device)

    def encode(self, image: Tensor, *, single: bool = False) -> ImageFeatures:
        """Features of (B, 3, S, S) images, found on the disk if they were kept there.

        Parameters
        ----------
        image : Tensor
            As the model is given them.
        single : bool
            Compute in float32.
        """
        store = self.store
        is_plain = image.device.type == "cpu" and not is_compiled(self._model)
        if store is None or not is_plain:
            return self._computed(image, single=single)
        key = store.key(image)
        features = store.get(key)
        if features is None:
            features = self._computed(image, single=single)
            store.put(key, features)
        has_refiner = self._model.mask_refiner is not None
        return _pictured(features, image) if has_refiner else features

    def _computed(self, image: Tensor, *, single: bool) -> ImageFeatures:
        with self._encoding, inference(self._model.device, single=single):
            features = self._model.encode_image(image)
            if image.is_cuda:
                # whoever gets the features, or the encoder's tables, gets them complete
                torch.cuda.current_stream(image.device).record_event().synchronize()
        return features


def _pictured(features: ImageFeatures, image: Tensor) -> ImageFeatures:
    """Features with the picture that motion and outlines are seen in."""
    if features.picture is not None:
        return features
    with torch.autocast(image.device.type, enabled=False):
        return replace(features, picture=to_picture(image))
