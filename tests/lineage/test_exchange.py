"""Every format by its name, labels bit for bit, nothing lost."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from napari_hqsam2.errors import LineageError, StackError
from napari_hqsam2.lineage.content import TrackedLabels
from napari_hqsam2.lineage.exchange import FORMATS, export_format, export_labels
from napari_hqsam2.stack_files import PixelSize, open_stack

SIZES = {
    "T": PixelSize(5.0, "min"),
    "Z": PixelSize(2.0, "µm"),
    "Y": PixelSize(0.2, "µm"),
    "X": PixelSize(0.1, "µm"),
}
NAMES = {
    "ctc": "res_track.txt",
    "ctc-truth": "man_track.txt",
    "geff": ".zattrs",
    "csv": None,
    "ome-tiff": None,
    "ome-zarr": "zarr.json",
}


def content(labels, **options):
    return TrackedLabels(
        labels=labels,
        axes="TZYX" if labels.ndim == 4 else "TYX",
        pixel_sizes=SIZES,
        provenance={"model": "nano", "prompts": "[]"},
        **options,
    )


@pytest.mark.parametrize("to", FORMATS)
@pytest.mark.parametrize("kind", [np.asarray, da.from_array, zarr.array])
def test_every_format(tmp_path, volume, to, kind):
    suffix = {"csv": ".csv", "ome-tiff": ".tif"}.get(to, "")
    written = export_labels(tmp_path / f"it{suffix}", content(kind(volume)), to)
    marker = NAMES[to]
    assert (written / marker).is_file() if marker else written.is_file()
    assert list(tmp_path.iterdir()) == [written]


@pytest.mark.parametrize("name", ["it.ome.tif", "it.ome.zarr"])
def test_labels_sizes_and_provenance(tmp_path, volume, name):
    path = export_labels(tmp_path / name, content(volume, names={1: "mother"}))
    with open_stack(path) as stack:
        np.testing.assert_array_equal(stack.array[:], volume)
        assert stack.axes.letters == "TZYX"
        assert stack.pixel_sizes == SIZES
    if name.endswith("zarr"):
        group = zarr.open_group(path, mode="r")
        assert group.attrs["napari-hqsam2"]["model"] == "nano"
        (named,) = group.attrs["ome"]["image-label"]["properties"]
        assert named == {"label-value": 1, "name": "mother"}
    else:
        with tifffile.TiffFile(path) as tiff:
            assert '<M K="model">nano</M>' in tiff.ome_metadata


def test_smaller_levels_hold_no_new_labels(tmp_path, rng):
    labels = rng.integers(0, 9, (2, 700, 1030), dtype=np.uint16)
    path = export_labels(tmp_path / "it.zarr", content(labels))
    group = zarr.open_group(path, mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    assert [level["path"] for level in image["datasets"]] == ["0", "1", "2"]
    scales = [
        level["coordinateTransformations"][0]["scale"] for level in image["datasets"]
    ]
    assert scales == [[5.0, 0.2, 0.1], [5.0, 0.4, 0.2], [5.0, 0.8, 0.4]]
    assert [axis["unit"] for axis in image["axes"]] == ["minute", *["micrometer"] * 2]
    assert group["2"].metadata.dimension_names == ("t", "y", "x")
    np.testing.assert_array_equal(group["2"][:], labels[:, ::4, ::4])


def test_zarr_folders_of_others_stay(tmp_path, dividing):
    zarr.create_group(tmp_path / "raw.zarr").attrs["precious"] = True
    with pytest.raises(LineageError, match="nothing in it is lost"):
        export_labels(tmp_path / "raw.zarr", content(dividing), overwrite=True)
    path = export_labels(tmp_path / "it.zarr", content(dividing))
    with pytest.raises(LineageError, match="exists already"):
        export_labels(path, content(dividing))
    export_labels(path, content(dividing), overwrite=True)


@pytest.mark.parametrize("to", ["ctc", "geff", "csv", "ome-tiff", "ome-zarr"])
def test_a_frame_that_cannot_be_read_leaves_nothing(tmp_path, dividing, to):
    class Broken:
        shape, dtype, ndim = dividing.shape, dividing.dtype, 3
        reads = 0

        def __getitem__(self, position):
            self.reads += 1
            # measuring reads six frames; the next pass fails
            if self.reads > (3 if to in ("geff", "csv", "ome-tiff", "ome-zarr") else 8):
                raise OSError("disk gone")
            return dividing[position]

    suffix = {"csv": ".csv", "ome-tiff": ".tif"}.get(to, "")
    with pytest.raises(OSError, match="disk gone"):
        export_labels(tmp_path / f"it{suffix}", content(Broken()), to)
    assert list(tmp_path.iterdir()) == []


def test_formats_by_ending(tmp_path):
    endings = ["a.tif", "a.TIFF", "a.ome.zarr", "a.geff", "a.csv", "01_RES"]
    found = [export_format(tmp_path / name) for name in endings]
    assert found == ["ome-tiff", "ome-tiff", "ome-zarr", "geff", "csv", "ctc"]
    with pytest.raises(LineageError, match=r"a\.png stands for no format"):
        export_format(tmp_path / "a.png")


def test_what_cannot_be_exported(tmp_path, dividing):
    with pytest.raises(LineageError, match="'xml' is no format"):
        export_labels(tmp_path / "it", content(dividing), "xml")
    floats = content(dividing.astype(float))
    with pytest.raises(StackError, match="whole numbers"):
        export_labels(tmp_path / "it.zarr", floats)
    assert list(tmp_path.iterdir()) == []
