"""Frames from a video file, decoded one at a time."""

from __future__ import annotations

import bisect
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
import av.error

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_checks import (
    MAX_FRAME_BYTES,
    fail_to_read,
    frame_index,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

    from napari_hqsam2._types import HW, AnyArray

logger = logging.getLogger(__name__)

CACHE_BYTES = 128 * 1024**2
"""Decoded frames that are kept for going back."""


@dataclass(frozen=True, slots=True)
class VideoIndex:
    """Time stamps of all frames, from the packets of the file; nothing is decoded."""

    count: int
    """Number of frames."""
    times: tuple[int, ...]
    """Time stamp of each frame in units of the stream; empty if not to be trusted."""
    keys: tuple[int, ...]
    """Frames at which decoding can begin, ascending."""

    def key_before(self, frame: int) -> int:
        """Last frame up to `frame` at which decoding can begin; -1 if there is none."""
        position = bisect.bisect_right(self.keys, frame)
        return self.keys[position - 1] if position else -1


def index_video(path: Path) -> VideoIndex:
    """Read the packets of the first video stream and note their time stamps."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [
            (packet.pts, packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.size and not packet.is_discard
        ]
        may_reorder = bool(stream.codec_context.has_b_frames)
    times = [time for time, _ in packets if time is not None]
    in_order = sorted(set(times))
    # Containers without presentation times (AVI, raw streams) number their packets as
    # they are stored, which is not the order of the frames if the codec reorders them.
    is_trusted = len(in_order) == len(packets) and not (
        may_reorder and times == in_order
    )
    if not is_trusted:
        return VideoIndex(len(packets), (), ())
    numbers = {time: number for number, time in enumerate(in_order)}
    keys = (numbers[time] for time, is_key in packets if time is not None and is_key)
    return VideoIndex(len(packets), tuple(in_order), tuple(sorted(keys)))


class VideoFrameSource:
    """Frames from the first video stream of a file.

    Reading forward decodes each frame once. Any other frame is reached from the key
    frame before it; the frames passed on the way are kept, within a budget, so that
    reading backward is not slow. Files without usable time stamps are decoded from the
    start.

    Parameters
    ----------
    path : Path
        Any file that FFmpeg reads.

    Raises
    ------
    StackError
        If the file cannot be opened or holds no video.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._index: VideoIndex | None = None
        self._cache: OrderedDict[int, VideoFrame] = OrderedDict()
        self._container: InputContainer | None = None
        self._frames: Iterator[VideoFrame] = iter(())
        self._next = 0
        try:
            stream = self._open()
        except (av.error.FFmpegError, IndexError, ValueError) as error:
            msg = (
                f"{path} cannot be opened as a video ({error}). Use a video that "
                "FFmpeg reads, a TIFF stack, or a folder of images."
            )
            raise StackError(msg) from error
        context = stream.codec_context
        self._hw: HW = (context.height, context.width)
        self._check_size()
        # An edit list may hide frames. PyAV before 17 does not tell.
        entries = getattr(stream, "index_entries", ())
        self._count = stream.frames - sum(bool(entry.is_discard) for entry in entries)
        if stream.frames <= 0:
            self._count = self._get_index().count
        if self._count <= 0:
            msg = f"{path} holds no video frame."
            raise StackError(msg)
        # Held frames must fit the budget: about three bytes per pixel, two if 16-bit.
        self._cache_size = max(1, CACHE_BYTES // (self._hw[0] * self._hw[1] * 3))

    def _check_size(self) -> None:
        height, width = self._hw
        if height < 1 or width < 1 or height * width * 6 > MAX_FRAME_BYTES:
            msg = (
                f"{self._path} announces frames of {width} x {height} pixels, which "
                "cannot be decoded. The file may be damaged; convert it with FFmpeg."
            )
            raise StackError(msg)

    def __len__(self) -> int:
        """Return the number of frames."""
        return self._count

    def __repr__(self) -> str:
        """Show what the frames come from."""
        return f"VideoFrameSource({self._path}, {self._count} frames, {self._hw})"

    @property
    def hw(self) -> HW:
        """Height and width of a frame in pixels."""
        return self._hw

    def close(self) -> None:
        """Close the file; a later `read` opens it again."""
        with self._lock:
            self._close()

    def read(self, index: int) -> AnyArray:
        """Read one frame.

        Parameters
        ----------
        index : int
            Frame number, from 0, in the order of presentation.

        Returns
        -------
        numpy.ndarray
            (H, W) for grey video, (H, W, 3) for colour; uint8, or uint16 for more than
            8 bits per channel.

        Raises
        ------
        StackError
            If the frame does not exist or cannot be decoded.
        """
        index = frame_index(index, len(self), str(self._path))
        with self._lock:
            try:
                frame = self._cache.get(index) or self._decode(index)
            except (av.error.FFmpegError, EOFError, ValueError) as error:
                self._close()
                fail_to_read(index, str(self._path), error)
            if (frame.height, frame.width) == self._hw:
                # a frame converts itself with scratch memory: one thread at a time
                return _to_array(frame)
        msg = (
            f"Frame {index} of {self._path} has {frame.width} x {frame.height} pixels, "
            f"the video {self._hw[1]} x {self._hw[0]}. Convert it to one size."
        )
        raise StackError(msg)

    def _open(self) -> VideoStream:
        """Open the file and stand before frame 0."""
        self._close()
        container = av.open(str(self._path))
        self._container = container
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        self._frames = container.decode(stream)
        self._next = 0
        return stream

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = None
        self._frames = iter(())
        self._next = 0

    def _get_index(self) -> VideoIndex:
        if self._index is None:
            self._index = index_video(self._path)
        return self._index

    def _decode(self, target: int) -> VideoFrame:
        if self._container is None:
            self._open()
        if target != self._next:
            start = self._get_index().key_before(target)
            is_nearer = self._next <= target and start <= self._next
            if not is_nearer and not (start > 0 and self._seek(start)):
                self._open()
        return self._decode_on(target)

    def _seek(self, key: int) -> bool:
        """Stand before key frame `key`; False if the file does not lead there."""
        container, times = self._container, self._get_index().times
        if container is None:
            return False
        stream = container.streams.video[0]
        try:
            container.seek(times[key], stream=stream)
            self._frames = container.decode(stream)
            frame = next(self._frames)
            while frame.pts is not None and frame.pts < times[key]:
                frame = next(self._frames)
        except (av.error.FFmpegError, StopIteration) as error:
            logger.info("%s: cannot seek to frame %d (%s)", self._path, key, error)
            return False
        if frame.pts != times[key]:
            logger.info("%s: seeking missed frame %d", self._path, key)
            return False
        self._keep(key, frame)
        self._next = key + 1
        return True

    def _decode_on(self, target: int) -> VideoFrame:
        """Decode from where the file stands up to `target`."""
        if target in self._cache:
            return self._cache[target]
        for frame in self._frames:
            number = self._next
            self._next += 1
            self._keep(number, frame)
            if number == target:
                if frame.is_corrupt:
                    logger.warning("Frame %d of %s is damaged", target, self._path)
                return frame
        msg = f"the video ends after {self._next} of {self._count} frames"
        raise EOFError(msg)

    def _keep(self, number: int, frame: VideoFrame) -> None:
        self._cache[number] = frame
        self._cache.move_to_end(number)
        while len(self._cache) > self._cache_size:
            self._cache.popitem(last=False)


def _to_array(frame: VideoFrame) -> AnyArray:
    components = frame.format.components
    is_deep = any(component.bits > 8 for component in components)
    is_grey = len(components) == 1 and frame.format.name.startswith("gray")
    if is_grey:
        return frame.to_ndarray(format="gray16le" if is_deep else "gray")
    return frame.to_ndarray(format="rgb48le" if is_deep else "rgb24")
