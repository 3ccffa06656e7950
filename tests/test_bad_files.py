"""Files that are damaged, absurd or odd: named in an error, or segmented.

Each case is a file as a disk may hold it, given to the API and, where it is bad, to the
command line.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import sys
import zlib

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image
from typer.testing import CliRunner

from napari_hqsam2 import FramePrompts, PointPrompt, segment_image, segment_stack
from napari_hqsam2.batch import work
from napari_hqsam2.cli import app
from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.stack_files import open_stack

FRAMES = np.random.default_rng(3).integers(0, 60_000, (4, 40, 50), dtype=np.uint16)


@pytest.fixture(scope="module")
def model(make_untrained):
    return make_untrained()


def segmented(path, model, axes=None):
    """Labels of what lies in the middle of the first frame."""
    with open_stack(path, axes) as stack:
        height, width = stack.axes.hw
        middle = (PointPrompt(height // 2, width // 2),)
        prompt = FramePrompts((0,) * len(stack.axes.leading), 1, points=middle)
        segment = segment_stack if stack.axes.leading else segment_image
        return segment(stack.array, [prompt], axes=stack.axes.letters, model=model)


def tiff(folder, frames=FRAMES, **options):
    path = folder / "a.tif"
    options = {"photometric": "minisblack", "metadata": {"axes": "TYX"}} | options
    tifffile.imwrite(path, frames, **options)
    return path


def cut_tiff(length):
    def make(folder):
        path = tiff(folder)
        path.write_bytes(path.read_bytes()[:length])
        return path

    return make


def tagged_tiff(tag, value):
    """A single page whose tag has another value."""

    def make(folder):
        path = tiff(folder, FRAMES[0], metadata=None)
        content = bytearray(path.read_bytes())
        with tifffile.TiffFile(path) as file:
            found = file.pages.first.tags[tag]
            kind = {3: "<H", 4: "<I"}[int(found.dtype)]
            struct.pack_into(kind, content, found.valueoffset, value)
        path.write_bytes(content)
        return path

    return make


def looping_tiff(folder):
    path = tiff(folder, FRAMES[0], metadata=None)
    content = bytearray(path.read_bytes())
    (start,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, start)
    struct.pack_into("<I", content, start + 2 + 12 * count, start)
    path.write_bytes(content)
    return path


def far_bigtiff(folder):
    path = tiff(folder, bigtiff=True)
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, 8, 2**60)
    path.write_bytes(content)
    return path


def broken_deflate(folder):
    path = tiff(folder, compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        start = file.pages.first.dataoffsets[0]
    content[start + 100 : start + 150] = bytes(50)
    path.write_bytes(content)
    return path


def bomb_tiff(folder):
    """400 MB of one value in 400 kB, of which the header claims more."""
    path = tiff(folder, np.zeros((1000, 20_000), np.uint8), compression="zlib")
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        for name in ("ImageLength", "RowsPerStrip"):
            kind = {3: "<H", 4: "<I"}[int(tags[name].dtype)]
            struct.pack_into(kind, content, tags[name].valueoffset, 60_000)
    path.write_bytes(content)
    return path


def text_as(name):
    def make(folder):
        path = folder / name
        path.write_text("<html>Not found</html>")
        return path

    return make


def png(path, height, width):
    def chunk(name, content):
        crc = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (b"IHDR", header), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def png_bomb(folder):
    path = folder / "frames"
    path.mkdir()
    png(path / "0.png", 100_000, 100_000)
    return path


def frames_of_two_sizes(folder):
    path = folder / "frames"
    path.mkdir()
    for number, height in enumerate((40, 30)):
        frame = np.zeros((height, 50), np.uint8)
        Image.fromarray(frame).save(path / f"{number}.png")
    return path


def zarr_array(folder, **options):
    path = folder / "a.zarr"
    array = zarr.create_array(
        path,
        shape=FRAMES.shape,
        chunks=(1, *FRAMES.shape[1:]),
        dtype=FRAMES.dtype,
        dimension_names=["t", "y", "x"] if options.get("zarr_format") != 2 else None,
        **options,
    )
    array[:] = FRAMES
    return path


def zarr_with(file="zarr.json", **changes):
    """An array of which the metadata say something else."""

    def make(folder):
        is_old = file == ".zarray"
        path = zarr_array(folder, **({"zarr_format": 2} if is_old else {}))
        content = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps(content | changes))
        return path

    return make


def zarr_that_says(content):
    def make(folder):
        path = zarr_array(folder)
        (path / "zarr.json").write_text(content)
        return path

    return make


def zarr_with_bad_chunk(number, content):
    def make(folder):
        path = zarr_array(folder)
        (path / "c" / str(number) / "0" / "0").write_bytes(content)
        return path

    return make


def broken_shard(folder):
    path = zarr_array(folder, shards=(2, *FRAMES.shape[1:]))
    shard = path / "c" / "1" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 0xFF
    shard.write_bytes(content)
    return path


def npy(content):
    def make(folder):
        path = folder / "a.npy"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            np.save(path, content, allow_pickle=True)
        return path

    return make


def cut_npy(folder):
    path = npy(FRAMES)(folder)
    path.write_bytes(path.read_bytes()[:5000])
    return path


def pipe(folder):
    path = folder / "a.tif"
    os.mkfifo(path)
    return path


def empty_folder(name):
    def make(folder):
        (folder / name).mkdir()
        return folder / name

    return make


IMAGINARY = [{"name": "imaginary", "configuration": {}}]
BAD = {
    "tiff of no bytes": (cut_tiff(0), "not a TIFF"),
    "tiff of its header": (cut_tiff(8), "page 0 is expected at byte"),
    "tiff cut in the pixels": (cut_tiff(9000), "cut off or damaged"),
    "tiff without width": (tagged_tiff("ImageWidth", 0), "X=0.*nothing to segment"),
    "tiff without length": (tagged_tiff("ImageLength", 0), "Y=0.*nothing to segment"),
    "tiff without strips": (tagged_tiff("RowsPerStrip", 0), "a.tif|TIFF"),
    "tiff with strips elsewhere": (tagged_tiff("StripOffsets", 2**31), "data end"),
    "tiff with huge strips": (tagged_tiff("StripByteCounts", 2**31), "data end"),
    "tiff of unknown compression": (tagged_tiff("Compression", 9999), "9999"),
    "tiff of 60,000 columns": (tagged_tiff("ImageWidth", 60_000), "Frame 0|TIFF"),
    "tiff of 5,000 samples": (tagged_tiff("SamplesPerPixel", 5000), "channels|TIFF"),
    "tiff of 64 bits": (tagged_tiff("BitsPerSample", 64), "Frame 0|TIFF"),
    "tiff whose pages loop": (looping_tiff, "leads back to an earlier page"),
    "bigtiff that points far off": (far_bigtiff, "page 0 is expected at byte"),
    "tiff with broken deflate": (broken_deflate, "Frame 0 of .* cannot be read"),
    "tiff bomb": (bomb_tiff, "bomb"),
    "html named tif": (text_as("a.tif"), "cut off or damaged"),
    "html named czi": (text_as("a.czi"), "cannot be opened as a video"),
    "png bomb": (png_bomb, "more pixels than Pillow allows"),
    "frames of two sizes": (frames_of_two_sizes, "All frames must be alike"),
    "zarr with a bad chunk": (zarr_with_bad_chunk(0, b"no data"), "Frame 0 of"),
    "zarr with a bad shard": (broken_shard, "Frame 2 of .*checksum"),
    "zarr of absurd shape": (
        zarr_with(shape=[4, 10**9, 10**9]),
        "no memory",
    ),
    "zarr of negative shape": (zarr_with(shape=[4, -40, 50]), "not readable as Zarr"),
    "zarr of two axes": (zarr_with(shape=[4, 40]), "not readable as Zarr"),
    "zarr without codec": (zarr_with(codecs=IMAGINARY), "imaginary"),
    "zarr of unknown type": (zarr_with(data_type="quux"), "quux"),
    "zarr of no json": (zarr_that_says("{"), "not readable as Zarr"),
    "zarr of a list": (zarr_that_says("[]"), "not readable as Zarr"),
    "old zarr without codec": (
        zarr_with(".zarray", compressor={"id": "imaginary"}),
        "imaginary",
    ),
    "zarr of nothing": (empty_folder("a.zarr"), "not readable as Zarr"),
    "npy of no bytes": (npy(b""), "not a NumPy array"),
    "npy of a broken header": (npy(b"\x93NUMPY\x01\0" + b"\xff" * 50), "not a NumPy"),
    "npy of objects": (npy(np.array([1, None])), "not a NumPy array"),
    "npy of complex numbers": (npy(FRAMES.astype(np.complex64)), "complex64"),
    "npy of one axis": (npy(np.zeros(5)), "Cannot tell the axes"),
    "npy of six axes": (npy(np.zeros((1, 2, 3, 1, 9, 9))), "Cannot tell the axes"),
    "npy without frames": (npy(FRAMES[:0]), "nothing to segment"),
    "npy cut": (cut_npy, "not a NumPy array"),
    "folder of nothing": (empty_folder("frames"), "holds no image file"),
    "folder named tif": (empty_folder("a.tif"), "holds no image file"),
    "pipe": (pipe, "a pipe or a device"),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.filterwarnings("ignore:Both zarr.json")
def test_bad_files_are_named_in_an_error(case, tmp_path, model, monkeypatch):
    make, words = BAD[case]
    if case == "pipe" and sys.platform == "win32":
        pytest.skip("files are no pipes there")
    path = make(tmp_path)
    with pytest.raises(StackError, match=words):
        segmented(path, model)
    monkeypatch.setattr(work, "load_model", lambda *_, **__: model)
    (tmp_path / "p.csv").write_text("t,y,x\n2,20,25\n")
    labels = tmp_path / "labels.tif"
    command = ("segment", path, "--points", tmp_path / "p.csv", "-o", labels)
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("case", ["pipe", "npy of no bytes", "zarr of a list"])
def test_bad_files_as_frames(case, tmp_path):
    with pytest.raises(StackError):
        open_frames(BAD[case][0](tmp_path))


def test_a_chunk_that_is_missing_is_empty(tmp_path, model):
    path = zarr_array(tmp_path)
    (path / "c" / "2" / "0" / "0").unlink()
    assert segmented(path, model).shape == FRAMES.shape


SHAPES = {
    (1, 1): "YX",
    (1, 50): "YX",
    (3, 50): "YX",
    (50, 3): "YX",
    (10, 1000): "YX",
    (37, 53): "YX",
    (1, 40, 50): "TYX",
    (2, 1, 50): "TYX",
    (1, 1, 40, 50): "TZYX",
    (1, 2, 3, 40, 50): "TZCYX",
    (2, 40, 50, 1): "TYXC",
}


@pytest.mark.parametrize(("shape", "axes"), SHAPES.items())
def test_any_shape_is_segmented(shape, axes, tmp_path, model, rng):
    path = npy(rng.integers(0, 60_000, shape, dtype=np.uint16))(tmp_path)
    labels = segmented(path, model, axes)
    expected = [n for n, letter in zip(shape, axes, strict=True) if letter != "C"]
    assert list(labels.shape) == expected


NAMES = (
    "zellen-äöü-细胞-🔬.tif",
    "with space.tif",
    "a'b;$(x)[1].tif",
    "x" * 200 + ".tif",
    "/".join(["d" * 60] * 6) + "/cells.tif",
)


@pytest.mark.skipif(sys.platform == "win32", reason="names are other ones there")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_any_name_is_read_and_written(name, tmp_path, model, monkeypatch):
    path = tmp_path / "in" / name
    path.parent.mkdir(parents=True)
    shutil.move(tiff(tmp_path), path)
    monkeypatch.setattr(work, "load_model", lambda *_, **__: model)
    table = tmp_path / "in" / f"{path.stem}.csv"
    table.write_text("t,y,x\n3,20,25\n")
    labels = tmp_path / "out" / name
    labels.parent.mkdir(parents=True)
    command = ("segment", path, "--points", table, "-o", labels)
    options = ("--direction", "forward")
    result = CliRunner().invoke(app, [str(word) for word in (*command, *options)])
    assert result.exit_code == 0, result.output
    assert tifffile.imread(labels).shape == FRAMES.shape
