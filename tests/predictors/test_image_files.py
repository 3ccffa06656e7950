from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.image_files import natural_key

if TYPE_CHECKING:
    from pathlib import Path


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checked = name + data
        return (
            struct.pack(">I", len(data))
            + checked
            + struct.pack(">I", zlib.crc32(checked))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"\0" * 10)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", data)
        + chunk(b"IEND", b"")
    )


def test_a_folder_is_read_in_natural_order(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    frames = rng.integers(0, 255, (12, 6, 8), np.uint8)
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"cell{number}.png")
    (tmp_path / ".cell99.png").write_bytes(b"hidden")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "Thumbs.db").write_bytes(b"x")
    (tmp_path / "series.png").mkdir()
    source = open_frames(tmp_path)
    assert (len(source), source.hw) == (12, (6, 8))
    for number, frame in enumerate(frames):
        np.testing.assert_array_equal(source.read(number), frame)


def test_names_that_count_sort_by_number() -> None:
    names = ["t10z2", "t2z10", "T2z2", "a", "t2", "00003", "12", "t²"]
    assert sorted(names, key=natural_key) == [
        "00003", "12", "a", "t2", "T2z2", "t2z10", "t10z2", "t²",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    assert sorted(sorted(names, key=natural_key)) == sorted(names)


def test_paths_can_be_listed_in_any_order(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    frames = rng.integers(0, 255, (2, 6, 8, 3), np.uint8)
    paths = [tmp_path / name for name in ("b.png", "ä b.bmp")]
    for path, frame in zip(paths, frames, strict=True):
        Image.fromarray(frame).save(path)
    source = open_frames([str(paths[1]), paths[0]])
    np.testing.assert_array_equal(source.read(0), frames[1])
    np.testing.assert_array_equal(source.read(1), frames[0])
    one = open_frames(paths[0], channels=(2,))
    assert len(one) == 1
    np.testing.assert_array_equal(one.read(0), frames[0, ..., 2])


@pytest.mark.parametrize(
    ("mode", "shape", "dtype"),
    [
        ("1", (6, 8), np.bool_),
        ("L", (6, 8), np.uint8),
        ("LA", (6, 8), np.uint8),
        ("I;16", (6, 8), np.uint16),
        ("P", (6, 8, 3), np.uint8),
        ("RGB", (6, 8, 3), np.uint8),
        ("RGBA", (6, 8, 4), np.uint8),
    ],
)
def test_every_png_mode(
    tmp_path: Path, mode: str, shape: tuple[int, ...], dtype: type
) -> None:
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    if mode == "I;16":
        image = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        image = Image.fromarray(grey).convert(mode)
    image.save(tmp_path / "a.png")
    frame = open_frames(tmp_path).read(0)
    assert (frame.shape, frame.dtype) == (shape, dtype)
    if mode == "I;16":
        np.testing.assert_array_equal(frame, grey.astype(np.uint16) * 257)
    elif mode != "1":
        np.testing.assert_array_equal(frame if frame.ndim == 2 else frame[..., 1], grey)


def test_jpeg_cmyk_becomes_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.jpg")
    frame = open_frames(tmp_path).read(0)
    assert frame.shape == (6, 8, 3)
    red, green, _ = frame[3, 4]
    assert red > 200
    assert green < 60


def test_a_folder_of_tiffs(tmp_path: Path, rng: np.random.Generator) -> None:
    frames = rng.random((3, 6, 8), np.float32)
    for number, frame in enumerate(frames):
        tifffile.imwrite(tmp_path / f"{number}.TIF", frame)
    source = open_frames(tmp_path)
    np.testing.assert_array_equal(source.read(2), frames[2])
    tifffile.imwrite(tmp_path / "1.TIF", frames, photometric="minisblack")
    with pytest.raises(StackError, match=r"Frame 1 .*1\.TIF.* holds 3 pages"):
        source.read(1)


def test_frames_must_be_like_the_first(tmp_path: Path) -> None:
    Image.new("L", (8, 6)).save(tmp_path / "0.png")
    Image.new("L", (9, 6)).save(tmp_path / "1.png")
    Image.new("RGB", (8, 6)).save(tmp_path / "2.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "0.png").read_bytes()[:40])
    (tmp_path / "4.png").write_bytes(b"no image at all")
    Image.new("L", (8, 6), 9).save(tmp_path / "5.png")
    source = open_frames(tmp_path)
    with pytest.raises(
        StackError, match=r"Frame 1 .*1\.png.*\(6, 9\).*0\.png.*\(6, 8\)"
    ):
        source.read(1)
    with pytest.raises(StackError, match=r"Frame 2 .*\(6, 8, 3\)"):
        source.read(2)
    for index in (3, 4):
        with pytest.raises(
            StackError, match=rf"Frame {index} of .*{index}\.png cannot"
        ):
            source.read(index)
    assert (source.read(5) == 9).all()
    (tmp_path / "5.png").unlink()
    with pytest.raises(StackError, match=r"Frame 5 .*FileNotFoundError"):
        source.read(5)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_pillow_keeps_its_limit_for_bombs(tmp_path: Path, side: int) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    Image.new("L", (8, 6)).save(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(png_header(side, side))
    source = open_frames(tmp_path)
    with pytest.raises(StackError, match=r"Frame 1 .*1\.png.*decompression bomb"):
        source.read(1)
    assert limit == Image.MAX_IMAGE_PIXELS


def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(StackError, match=r"no image file .*\.png"):
        open_frames(tmp_path)
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(StackError, match=r"Frame 0 of .*0\.png cannot be read"):
        open_frames(tmp_path)
    with pytest.raises(StackError, match="is empty"):
        open_frames(tmp_path / "0.png")
