from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import av
import numpy as np
import pytest

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors import video_file
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.video_file import VideoFrameSource

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 40
HEIGHT, WIDTH = 48, 64


@pytest.fixture(autouse=True)
def _quiet_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "0")
    logging.getLogger("libav").setLevel(logging.CRITICAL)


def scene(number: int) -> np.ndarray:
    """A frame whose number can be told from its pixels, (H, W, 3)."""
    frame = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    for bit in range(6):
        if number >> bit & 1:
            frame[8 * bit : 8 * bit + 8, : WIDTH // 2] = 220
    frame[:, WIDTH // 2 :, 0] = 5 * number
    return frame


def number_of(frame: np.ndarray) -> int:
    grey = frame if frame.ndim == 2 else frame[..., 1]
    limit = 130 * (257 if frame.dtype == np.uint16 else 1)
    return sum(int(grey[8 * bit + 4, WIDTH // 4] > limit) << bit for bit in range(6))


def write_video(
    path: Path,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    count: int = COUNT,
) -> Path:
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(scene(number), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


FILES = {
    "b-frames.mp4": ("libx264", "yuv420p", {"g": "12", "bf": "3", "sc_threshold": "0"}),
    "one-key.mov": ("libx264", "yuv420p", {"g": "999", "bf": "0"}),
    "open-gop.mkv": ("libx264", "yuv420p", {"g": "9", "x264-params": "open-gop=1"}),
    "no-times.avi": ("libx264", "yuv420p", {"g": "9", "bf": "3"}),
    "raw.h264": ("libx264", "yuv420p", {"g": "9", "bf": "2"}),
    "stream.ts": ("libx264", "yuv420p", {"g": "9", "bf": "2"}),
    "mpeg4.mp4": ("mpeg4", "yuv420p", {"g": "9", "bf": "2"}),
    "motion.avi": ("mjpeg", "yuvj420p", {}),
    "lossless.avi": ("ffv1", "gray16le", {}),
    "deep.mkv": ("ffv1", "yuv444p10le", {}),
    "grey.mkv": ("ffv1", "gray", {}),
    "web.webm": ("libvpx-vp9", "yuv420p", {"g": "9"}),
    "picture.gif": ("gif", "rgb8", {}),
}
ORDERS = {
    "forward": list(range(COUNT)),
    "backward": list(range(COUNT))[::-1],
    "jumps": [20, 3, 39, 0, 21, 22, 8, 39, 1, 12, 11],
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name, (codec, pixels, options) in FILES.items():
        write_video(folder / name, codec, pixels, options)
    return folder


@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
@pytest.mark.parametrize("name", FILES)
def test_every_frame_in_any_order(
    videos: Path, name: str, order: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_file, "CACHE_BYTES", 4 * HEIGHT * WIDTH * 3)
    source = open_frames(videos / name)
    assert isinstance(source, VideoFrameSource)
    assert (len(source), source.hw) == (COUNT, (HEIGHT, WIDTH))
    assert [number_of(source.read(index)) for index in order] == order


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("b-frames.mp4", (HEIGHT, WIDTH, 3), np.uint8),
        ("lossless.avi", (HEIGHT, WIDTH), np.uint16),
        ("deep.mkv", (HEIGHT, WIDTH, 3), np.uint16),
        ("grey.mkv", (HEIGHT, WIDTH), np.uint8),
    ],
)
def test_depth_and_colour_are_kept(
    videos: Path, name: str, shape: tuple[int, ...], dtype: type
) -> None:
    frame = open_frames(videos / name).read(5)
    assert (frame.shape, frame.dtype) == (shape, dtype)
    if len(shape) == 3:
        red = open_frames(videos / name, channels=(0,)).read(5)
        np.testing.assert_array_equal(red, frame[..., 0])


def decoded_frames(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the number of each frame that a source decodes from now on."""
    decoded: list[int] = []
    keep = VideoFrameSource._keep

    def noting(self: VideoFrameSource, number: int, frame: av.VideoFrame) -> None:
        decoded.append(number)
        keep(self, number, frame)

    monkeypatch.setattr(VideoFrameSource, "_keep", noting)
    return decoded


def test_reading_forward_decodes_each_frame_once(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_frames(monkeypatch)
    monkeypatch.setattr(video_file, "index_video", pytest.fail)
    source = open_frames(videos / "b-frames.mp4")
    for index in range(COUNT):
        source.read(index)
        source.read(index)
    assert decoded == list(range(COUNT))


def test_a_jump_decodes_from_the_key_frame_before(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_frames(monkeypatch)
    source = open_frames(videos / "b-frames.mp4")
    source.read(30)
    assert decoded == list(range(24, 31))
    source.read(33)
    assert decoded == list(range(24, 34))


def test_reading_backward_uses_the_frames_passed(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = decoded_frames(monkeypatch)
    source = open_frames(videos / "one-key.mov")
    for index in reversed(range(COUNT)):
        assert number_of(source.read(index)) == index
    assert len(decoded) == COUNT


def test_memory_is_bounded(videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_file, "CACHE_BYTES", 5 * HEIGHT * WIDTH * 3)
    source = VideoFrameSource(videos / "mpeg4.mp4")
    for index in range(COUNT):
        source.read(index)
        assert len(source._cache) <= 5


def test_a_closed_file_opens_again(videos: Path) -> None:
    source = VideoFrameSource(videos / "b-frames.mp4")
    source.read(30)
    source.close()
    assert number_of(source.read(31)) == 31


def test_frames_that_do_not_exist(videos: Path) -> None:
    source = open_frames(videos / "mpeg4.mp4")
    for index in (-1, COUNT):
        with pytest.raises(StackError, match=f"0 to 39; frame {index} does not"):
            source.read(index)


def test_a_file_cut_off_loses_only_its_end(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.avi"
    content = (videos / "motion.avi").read_bytes()
    path.write_bytes(content[: len(content) // 2])
    source = VideoFrameSource(path)
    source._count = COUNT  # as the header of a longer file may announce
    assert number_of(source.read(3)) == 3
    with pytest.raises(StackError, match=r"Frame 39 of .*cut\.avi cannot be read"):
        source.read(COUNT - 1)
    assert number_of(source.read(5)) == 5


@pytest.mark.parametrize(
    "content", [b"no video", b"\0" * 5000, b"\0\0\0\x18ftypmp42" + b"\0" * 200]
)
def test_what_is_not_a_video(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(StackError, match=r"a\.mp4 cannot be opened as a video"):
        open_frames(path)


def test_a_moov_less_file(videos: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    content = (videos / "mpeg4.mp4").read_bytes()
    path.write_bytes(content[: content.index(b"moov")])
    with pytest.raises(StackError, match=r"a\.mp4 cannot be opened as a video"):
        open_frames(path)


def test_sound_without_pictures(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        sound = av.AudioFrame.from_ndarray(
            np.zeros((1, 800), np.int16), format="s16", layout="mono"
        )
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
    with pytest.raises(StackError, match=r"a\.wav cannot be opened as a video"):
        open_frames(path)


def test_two_threads_share_a_source(videos: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    source = open_frames(videos / "b-frames.mp4")
    order = [5, 30, 6, 31, 7, 32, 8, 33] * 3
    with ThreadPoolExecutor(4) as pool:
        frames = list(pool.map(source.read, order))
    assert [number_of(frame) for frame in frames] == order
