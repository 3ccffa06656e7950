"""Stacks of every kind open lazily, with the axes and sizes that their files state."""

from __future__ import annotations

import json
import struct

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

from napari_hqsam2.errors import StackError
from napari_hqsam2.predictors.frame_source import FrameSource
from napari_hqsam2.stack_files import PixelSize, open_stack


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 60_000, (3, 4, 20, 30), dtype=np.uint16)


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("TZYX", (3, 4, 20, 30)),
        ("TYX", (3, 20, 30)),
        ("TCYX", (3, 2, 20, 30)),
        ("YX", (20, 30)),
    ],
)
def test_ome_tiff(tmp_path, rng, axes, shape):
    data = rng.integers(0, 60_000, shape, dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, data, metadata={"axes": axes, "PhysicalSizeX": 0.25})
    with open_stack(path) as stack:
        assert (stack.axes.letters, stack.axes.shape) == (axes, shape)
        np.testing.assert_array_equal(stack.array[:], data)
        assert stack.pixel_sizes["X"] == PixelSize(0.25, "µm")


def test_imagej_tiff(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        pixels,
        imagej=True,
        resolution=(5.0, 4.0),
        metadata={"axes": "TZYX", "spacing": 2.0, "unit": "um", "finterval": 30.0},
    )
    with open_stack(path) as stack:
        assert stack.axes.letters == "TZYX"
        assert stack.pixel_sizes == {
            "X": PixelSize(0.2, "µm"),
            "Y": PixelSize(0.25, "µm"),
            "Z": PixelSize(2.0, "µm"),
            "T": PixelSize(30.0, "s"),
        }


def test_a_tiff_that_names_no_axes_is_guessed_like_an_array(tmp_path, pixels):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    with open_stack(path) as stack:
        assert stack.axes.leading_shape == (12,)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    with open_stack(path) as stack:
        assert stack.axes.letters == "TZYX"
    with open_stack(path, "ZTYX") as stack:
        assert stack.axes.letters == "ZTYX"


def test_colours_in_a_tiff_are_channels(tmp_path, rng):
    path = tmp_path / "a.tif"
    data = rng.integers(0, 255, (5, 20, 30, 3), dtype=np.uint8)
    tifffile.imwrite(path, data, photometric="rgb", metadata={"axes": "TYXS"})
    with open_stack(path) as stack:
        assert stack.axes.letters == "TYXC"


def test_a_tiff_is_read_frame_by_frame(tmp_path, rng, monkeypatch):
    pixels = rng.integers(0, 60_000, (3, 4, 200, 300), dtype=np.uint16)
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": "TZYX"})
    read = []
    original = tifffile.FileHandle.read

    def note(self, size=-1, /):
        data = original(self, size)
        read.append(len(data))
        return data

    monkeypatch.setattr(tifffile.FileHandle, "read", note)
    with open_stack(path) as stack:
        assert sum(read) < 50_000
        read.clear()
        np.testing.assert_array_equal(stack.array[1, 2], pixels[1, 2])
        assert pixels[1, 2].nbytes <= sum(read) < 1.2 * pixels[1, 2].nbytes


def test_npy_is_mapped(tmp_path, pixels):
    path = tmp_path / "a.npy"
    np.save(path, pixels)
    with open_stack(path) as stack:
        assert isinstance(stack.array, np.memmap)
        assert stack.axes.letters == "TZYX"


def test_zarr_array_with_named_dimensions(tmp_path, pixels):
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=pixels, dimension_names=["z", "t", "y", "x"])
    with open_stack(path) as stack:
        assert stack.axes.letters == "ZTYX"
        np.testing.assert_array_equal(stack.array[1, 2], pixels[1, 2])


@pytest.fixture(params=[2, 3], ids=["zarr2", "zarr3"])
def ome_zarr(request, tmp_path, pixels):
    group = zarr.create_group(tmp_path / "image", zarr_format=request.param)
    group.create_array("0", data=pixels)
    group.create_array("1", data=pixels[..., ::2, ::2])
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "z", "type": "space", "unit": "micrometer"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    scale = {"type": "scale", "scale": [30.0, 2.0, 0.5, 0.25]}
    datasets = [{"path": "0", "coordinateTransformations": [scale]}, {"path": "1"}]
    content = {"multiscales": [{"axes": axes, "datasets": datasets}]}
    group.attrs.update(content if request.param == 2 else {"ome": content})
    return tmp_path / "image"


def test_ome_zarr_opens_at_full_resolution(ome_zarr, pixels):
    with open_stack(ome_zarr) as stack:
        assert stack.axes.letters == "TZYX"
        np.testing.assert_array_equal(stack.array[1, 2], pixels[1, 2])
        first, second = stack.array.levels
        assert first.shape == pixels.shape
        np.testing.assert_array_equal(second[1, 2], pixels[1, 2, ..., ::2, ::2])
        assert stack.pixel_sizes == {
            "T": PixelSize(30.0, "s"),
            "Z": PixelSize(2.0, "µm"),
            "Y": PixelSize(0.5, "µm"),
            "X": PixelSize(0.25, "µm"),
        }


def test_a_level_that_is_missing_is_left_out(ome_zarr, pixels):
    group = zarr.open_group(ome_zarr, mode="r+")
    content = dict(group.attrs)
    multiscales = content.get("ome", content)["multiscales"]
    multiscales[0]["datasets"][1]["path"] = "gone"
    group.attrs.update(content)
    with open_stack(ome_zarr) as stack:
        assert isinstance(stack.array, zarr.Array)
        assert stack.array.shape == pixels.shape


def test_damaged_ome_zarr_is_refused(ome_zarr):
    group = zarr.open_group(ome_zarr, mode="r+")
    content = dict(group.attrs)
    multiscales = content.get("ome", content)["multiscales"]
    multiscales[0]["datasets"][0]["path"] = "gone"
    group.attrs.update(content)
    with pytest.raises(StackError, match="OME-Zarr metadata of image are damaged"):
        open_stack(ome_zarr)


def test_a_zarr_group_without_images_says_what_it_holds(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("cells", data=np.zeros((3, 8, 8)))
    with pytest.raises(StackError, match="it holds cells"):
        open_stack(tmp_path / "a.zarr")


def test_a_folder_of_images(tmp_path, rng):
    frames = rng.integers(0, 255, (3, 20, 30), dtype=np.uint8)
    for index, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{index}.png")
    with open_stack(tmp_path) as stack:
        assert isinstance(stack.array, FrameSource)
        assert (stack.axes.letters, stack.axes.shape) == ("TYX", (3, 20, 30))
        np.testing.assert_array_equal(stack.array.read(2), frames[2])
    with open_stack(tmp_path, "ZYX") as stack:
        assert stack.axes.letters == "ZYX"


def test_files_that_are_no_stacks_are_refused(tmp_path):
    with pytest.raises(StackError, match="There is no file or folder"):
        open_stack(tmp_path / "nothing.tif")
    broken = tmp_path / "broken.tif"
    broken.write_bytes(b"II*\0 no more")
    with pytest.raises(StackError, match=r"broken\.tif"):
        open_stack(broken)
    objects = tmp_path / "objects.npy"
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(StackError, match=r"objects\.npy is not a NumPy array of num"):
        open_stack(objects)
    nonsense = tmp_path / "a.zarr"
    nonsense.mkdir()
    (nonsense / "zarr.json").write_text(json.dumps({"zarr_format": 9}))
    with pytest.raises(StackError, match=r"a\.zarr is not readable as Zarr"):
        open_stack(nonsense)


def test_a_page_that_claims_absurdly_many_pixels(tmp_path, pixels):
    path = tmp_path / "huge.tif"
    tifffile.imwrite(path, pixels[0, 0])
    data = bytearray(path.read_bytes())
    start = struct.unpack("<I", data[4:8])[0]
    for number in range(struct.unpack("<H", data[start : start + 2])[0]):
        entry = start + 2 + 12 * number
        tag = struct.unpack("<H", data[entry : entry + 2])[0]
        if tag in {256, 257, 278}:  # width, height, rows of a strip
            data[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 2_000_000)
    path.write_bytes(data)
    with pytest.raises(
        StackError, match=r"huge\.tif cannot be read as TIFF: 1200 bytes claim"
    ):
        open_stack(path)
