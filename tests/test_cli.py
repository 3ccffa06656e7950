"""The command line on real files, with untrained weights."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from typer.testing import CliRunner

import napari_hqsam2
from napari_hqsam2.batch import bars, work
from napari_hqsam2.cli import app
from napari_hqsam2.cli.app import out
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
from napari_hqsam2.segmentation.options import StackSettings
from napari_hqsam2.stack_files import PixelSize, open_stack
from napari_hqsam2.weights import own_files, registry


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run a command line; lines are as long as they need to be."""
    monkeypatch.setenv("COLUMNS", "200")
    # it has the width that there was when it was imported, in a process of several
    monkeypatch.setattr(out, "width", 200)
    monkeypatch.setenv("NAPARI_HQSAM2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NAPARI_HQSAM2_CONFIG", str(tmp_path / "settings"))
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, small_model):
    path = tmp_path_factory.mktemp("weights") / "nano.pt"
    torch.save({"model": small_model.state_dict()}, path)
    return path


@pytest.fixture(scope="module")
def small_model(make_untrained):
    return make_untrained(128)


@pytest.fixture
def quick(monkeypatch, small_model):
    """A model that is small instead of the one that is asked for."""
    monkeypatch.setattr(work, "load_model", lambda *_, **__: small_model)


@pytest.fixture
def files(tmp_path, rng):
    """A stack and prompts for two objects."""
    data = rng.integers(0, 60_000, (2, 3, 40, 50), dtype=np.uint16)
    metadata = {
        "axes": "TZYX",
        "PhysicalSizeX": 0.25,
        "PhysicalSizeZ": 2.0,
        "PhysicalSizeZUnit": "µm",
    }
    tifffile.imwrite(tmp_path / "stack.ome.tif", data, metadata=metadata)
    points = "t,z,y,x,object_id,label\n1,1,10,12,4,positive\n1,1,30,30,4,negative\n"
    (tmp_path / "points.csv").write_text(points)
    (tmp_path / "boxes.csv").write_text(
        "t,z,y0,x0,y1,x1,object_id\n1,2,20,20,35,45,7\n"
    )
    return tmp_path


def provenance(path):
    with tifffile.TiffFile(path) as tiff:
        ome = tifffile.xml2dict(tiff.ome_metadata)["OME"]
    pairs = ome["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]
    return {pair["K"]: str(pair["value"]) for pair in pairs}


PROMPTS = ("--points", "points.csv", "--boxes", "boxes.csv")


def test_segment_writes_labels_and_a_picture(run, files, checkpoint):
    result = run(
        "segment", "stack.ome.tif", *PROMPTS, "-o", "labels.ome.tif",
        "--checkpoint", checkpoint, "--picture", "picture.png", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "Wrote labels.ome.tif" in result.stdout
    assert "Wrote picture.png" in result.stdout
    with open_stack(files / "labels.ome.tif") as stack:
        assert (stack.axes.letters, stack.axes.shape) == ("TZYX", (2, 3, 40, 50))
        assert stack.pixel_sizes["X"] == PixelSize(0.25, "µm")
        assert stack.pixel_sizes["Z"] == PixelSize(2.0, "µm")
        labels = stack.array[:]
    assert set(np.unique(labels)) <= {0, 4, 7}
    assert not labels[0].any()
    for frame in labels[1]:
        assert {4, 7} & set(np.unique(frame))
    said = provenance(files / "labels.ome.tif")
    assert said["stack"] == "stack.ome.tif"
    assert said["model"] == registry.DEFAULT_MODEL
    assert said["checkpoint"] == "nano.pt"
    assert (said["objects"], said["complete"]) == ("2", "True")
    with Image.open(files / "picture.png") as picture:
        assert min(picture.size) > 300


def test_segment_takes_all_options(run, files, quick):
    points = "z,y,x\n1,10,12\n"
    (files / "points.csv").write_text(points)
    result = run(
        "segment", "stack.ome.tif", "--points", "points.csv", "-o", "labels.tif",
        "--axes", "CZYX", "--axis", "Z", "--frames", "1,3",
        "--direction", "forward", "--contrast", "0,60000", "--channels", "0",
        "--hq", "off", "--tracking", "local", "--resolution", "96", "--gamma", "0.5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    labels = tifffile.imread(files / "labels.tif")
    assert labels.shape == (3, 40, 50)
    assert [bool(frame.any()) for frame in labels] == [False, True, True]
    said = provenance(files / "labels.tif")
    assert (said["direction"], said["hq_mode"], said["channels"]) == (
        "forward",
        "off",
        "(0,)",
    )
    assert said["contrast_limits"] == "(0.0, 60000.0, 0.5)"
    assert (said["tracking"], said["resolution"]) == ("local", "96")


def test_options_of_the_model_reach_it(run, files, monkeypatch, small_model):
    asked = []

    def load(name, **options):
        asked.append((name, options))
        return small_model

    monkeypatch.setattr(work, "load_model", load)
    command = ("segment", "stack.ome.tif", *PROMPTS, "-o", "labels.tif")
    run(*command)
    run(*command, "--tracking", "local", "--resolution", "256", "--compile")
    names = ("tracking", "resolution", "compile")
    assert [[options[name] for name in names] for _, options in asked] == [
        ["exact", None, False],
        ["local", 256, True],
    ]


def test_segment_takes_a_single_image(run, files, quick, rng):
    image = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    tifffile.imwrite(files / "image.tif", image, photometric="rgb")
    (files / "clicks.csv").write_text("y,x\n10,12\n30,40\n")
    result = run(
        "segment", "image.tif", "--points", "clicks.csv", "-o", "labels.tif",
        "--picture", "picture.png",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    labels = tifffile.imread(files / "labels.tif")
    assert labels.shape == (40, 50)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert (files / "picture.png").is_file()


def test_everything_on_a_frame_is_found_and_followed(run, files):
    rows, columns = np.mgrid[:128, :128]
    frame = np.zeros((128, 128), dtype=np.uint8) + 20
    for y, x in ((30, 30), (35, 90), (90, 60)):
        frame[(rows - y) ** 2 + (columns - x) ** 2 < 120] = 200
    stack = np.stack([np.full_like(frame, 20), frame, np.roll(frame, 2, axis=1)])
    tifffile.imwrite(
        files / "cells.tif", stack, photometric="minisblack", metadata={"axes": "TYX"}
    )
    result = run(
        "segment", "cells.tif", "--everything", "--at", "1", "-o", "labels.tif",
        "--direction", "forward", "--resolution", "256", "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    labels = tifffile.imread(files / "labels.tif")
    assert not labels[0].any()
    for y, x in ((30, 30), (35, 90), (90, 60)):
        assert labels[1, y, x]
        assert labels[2, y, x + 2] == labels[1, y, x]
    said = provenance(files / "labels.tif")
    assert (said["everything"], said["at"]) == ("True", "(1,)")


def test_ctrl_c_keeps_the_frames_that_are_finished(run, files, quick, monkeypatch):
    propagate = SAM2VideoPredictor.propagate

    def interrupted(self, *args, **kwargs):
        yield from itertools.islice(propagate(self, *args, **kwargs), 1)
        raise KeyboardInterrupt

    monkeypatch.setattr(SAM2VideoPredictor, "propagate", interrupted)
    result = run(
        "segment", "stack.ome.tif", "--points", "points.csv", "-o", "labels.tif",
    )  # fmt: skip
    assert result.exit_code == 130
    assert "Interrupted; 1 frame" in result.stderr
    labels = tifffile.imread(files / "labels.tif")
    assert not labels[0].any()
    assert [bool(frame.any()) for frame in labels[1]] == [False, True, False]
    assert provenance(files / "labels.tif")["complete"] == "False"


def damaged_stack(path, rng, bad):
    """A zarr array of which one frame is no data any more."""
    array = zarr.create_array(
        path, shape=(5, 40, 50), chunks=(1, 40, 50), dtype=np.uint16, compressors="auto"
    )
    array[:] = rng.integers(0, 60_000, array.shape)
    (path / "c" / str(bad) / "0" / "0").write_bytes(b"no data")


def test_a_frame_that_cannot_be_read_keeps_those_before(run, files, quick, rng):
    damaged_stack(files / "stack.zarr", rng, bad=3)
    (files / "clicks.csv").write_text("t,y,x\n1,10,12\n")
    command = (
        "segment", "stack.zarr", "--points", "clicks.csv", "-o", "labels.tif",
        "--axes", "TYX", "--picture", "picture.png",
    )  # fmt: skip
    result = run(*command)
    assert result.exit_code == 1
    assert "Frame 3 of" in result.stderr
    assert "2 frames are finished and written" in result.stderr
    assert "Traceback" not in result.output
    assert "Wrote labels.tif" in result.stdout
    labels = tifffile.imread(files / "labels.tif")
    assert [bool(frame.any()) for frame in labels] == [False, True, True, False, False]
    assert provenance(files / "labels.tif")["complete"] == "False"
    assert (files / "picture.png").is_file()
    assert run(*command, "--frames", "0,3").exit_code == 0
    labels = tifffile.imread(files / "labels.tif")
    assert [bool(frame.any()) for frame in labels] == [True, True, True, False, False]


def test_frames_are_waited_for_as_long_as_is_said(run, files, quick, monkeypatch):
    asked = []

    def settings(**options):
        asked.append(options["read_timeout"])
        return StackSettings(**options)

    monkeypatch.setattr(work, "StackSettings", settings)
    command = ("segment", "stack.ome.tif", *PROMPTS, "-o", "labels.tif")
    for more in ((), ("--read-timeout", "0.5"), ("--read-timeout", "0")):
        assert run(*command, *more).exit_code == 0
        (files / "labels.tif").unlink()
    assert asked == [120, 0.5, None]
    assert run(*command, "--read-timeout", "-1").exit_code == 2


def test_a_first_frame_that_cannot_be_read_writes_nothing(run, files, quick, rng):
    damaged_stack(files / "stack.zarr", rng, bad=1)
    (files / "clicks.csv").write_text("t,y,x\n1,10,12\n")
    result = run(
        "segment", "stack.zarr", "--points", "clicks.csv", "-o", "labels.tif",
        "--axes", "TYX",
    )  # fmt: skip
    assert result.exit_code == 1
    assert "Frame 1 of" in result.stderr
    assert not (files / "labels.tif").exists()


def test_ctrl_c_before_the_first_frame_writes_nothing(run, files, quick, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(SAM2VideoPredictor, "propagate", interrupted)
    result = run(
        "segment", "stack.ome.tif", "--points", "points.csv", "-o", "labels.tif",
    )  # fmt: skip
    assert result.exit_code == 130
    assert not (files / "labels.tif").exists()


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("nothing.tif", *PROMPTS), "There is no file or folder nothing.tif"),
        (("stack.ome.tif",), "There are no prompts; give a CSV file"),
        (("stack.ome.tif", "--points", "missing.csv"), "There is no file missing.csv"),
        (("stack.ome.tif", "--points", "boxes.csv"), "line 2: there is no column 'y'"),
        (("stack.ome.tif", *PROMPTS, "--axis", "Q"), "choose one of T, Z"),
        (("stack.ome.tif", *PROMPTS, "--axes", "ZYX"), "names 3 axes but"),
        (("stack.ome.tif", *PROMPTS, "--frames", "0,1"), "outside the range Z=0 to 0"),
        (("stack.ome.tif", *PROMPTS, "--model", "sam9"), "Unknown model 'sam9'"),
        (("stack.ome.tif", *PROMPTS, "--device", "warp"), "warp"),
        (("stack.ome.tif", *PROMPTS, "--everything"), "--everything; not both"),
        (("stack.ome.tif", "--everything", "--at", "0"), "is not a frame of a stack"),
        (("stack.ome.tif", *PROMPTS, "-o", "labels.png"), "name the file .tif"),
        (("stack.ome.tif", *PROMPTS, "-o", "no/labels.tif"), "There is no folder no"),
        (("stack.ome.tif", *PROMPTS, "-o", "stack.ome.tif"), "tif is an input"),
        (
            ("stack.ome.tif", *PROMPTS, "--picture", "points.csv"),
            "csv is an input",
        ),
        ((".", *PROMPTS, "-o", "new.tif"), "new.tif lies in an input of this work"),
    ],
)
def test_what_cannot_be_done_is_said_without_a_traceback(
    run, files, arguments, problem
):
    before = {path: path.read_bytes() for path in files.iterdir()}
    result = run("segment", "-o", "labels.tif", *arguments)
    assert result.exit_code == 1
    assert {path: path.read_bytes() for path in files.iterdir()} == before
    assert problem in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output
    assert not list(files.glob("*labels*"))


@pytest.mark.parametrize("option", [("--frames", "5,9"), ("--axis", "T")])
def test_one_image_has_nothing_to_be_followed_through(run, files, option):
    image = np.zeros((40, 50), np.uint8)
    tifffile.imwrite(files / "image.tif", image, photometric="minisblack")
    (files / "clicks.csv").write_text("y,x\n5,5\n")
    prompts = ("--points", "clicks.csv")
    result = run("segment", "image.tif", *prompts, "-o", "labels.tif", *option)
    assert result.exit_code == 1
    said = result.stderr.replace("\n", " ")  # as wide as the terminal is
    assert "image.tif is one image (Y=40, X=50)" in said
    assert "such as TYX" in said


def test_overwrite_replaces_what_something_else_wrote(run, files, quick):
    tifffile.imwrite(
        files / "labels.tif", np.ones((40, 50), np.uint8), photometric="minisblack"
    )
    command = ("segment", "stack.ome.tif", *PROMPTS, "-o", "labels.tif")
    refused = run(*command)
    assert refused.exit_code == 1
    assert "--overwrite" in refused.stderr
    assert tifffile.imread(files / "labels.tif").all()
    replaced = run(*command, "--overwrite")
    assert replaced.exit_code == 0, replaced.output
    assert tifffile.imread(files / "labels.tif").dtype == np.int32


@pytest.mark.parametrize(
    "option",
    [
        ("--contrast", "5"),
        ("--contrast", "9,1"),
        ("--channels", "red"),
        ("--channels", "0.5"),
        ("--frames", "1"),
        ("--direction", "sideways"),
        ("--hq", "maybe"),
        ("--tracking", "fast"),
        ("--resolution", "500"),
        ("--gamma", "0"),
    ],
)
def test_values_that_make_no_sense_are_wrong_usage(run, files, option):
    result = run("segment", "stack.ome.tif", *PROMPTS, "-o", "labels.tif", *option)
    assert result.exit_code == 2
    assert option[0] in result.output


def models_of(result):
    """Rows of the table of models: size, here, hash, source."""
    rows = [
        [cell.strip() for cell in line.split("│")]
        for line in result.stdout.splitlines()
    ]
    return {r[1].split()[0]: r[2:6] for r in rows if len(r) > 3 and r[1]}


def test_models_lists_every_model_and_whether_it_is_here(run, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    (cache / "sam2.1_hiera_tiny.pt").write_bytes(bytes(3_000_000))
    (cache / "sam2.1_hiera_small.pt.part").write_bytes(bytes(40_000_000))
    own = tmp_path / "mine.safetensors"
    own.write_bytes(bytes(2_000_000))
    own_files.remember(own, registry.DEFAULT_MODEL)
    result = run("models")
    assert result.exit_code == 0, result.output
    rows = models_of(result)
    assert registry.REGISTRY.keys() <= rows.keys()
    assert rows["sam2.1_hiera_tiny"][:3] == ["3 MB", "yes", "not checked"]
    assert rows["sam2.1_hiera_small"][:3] == ["184 MB", "40 MB of it", ""]
    assert rows["sam2.1_hiera_large"][:3] == ["898 MB", "no", ""]
    assert rows["sam2.1_hq_hiera_tiny"][3] == "not published"
    assert rows[registry.DEFAULT_MODEL][1:] == ["yes", "verified", "built in"]
    assert f"{own} (2 MB), for {registry.DEFAULT_MODEL}" in result.stdout
    assert "(43 MB)" in result.stdout
    checked = run("models", "--verify")
    assert models_of(checked)["sam2.1_hiera_tiny"][2] == "wrong"


def test_removed_models_free_their_space(run, tmp_path):
    file = tmp_path / "cache" / "sam2.1_hiera_tiny.pt"
    file.parent.mkdir()
    file.write_bytes(bytes(3_000_000))
    result = run("remove", "sam2.1_hiera_tiny")
    assert result.exit_code == 0, result.output
    assert "Removed sam2.1_hiera_tiny; 3 MB are free again." in result.stdout
    assert not file.exists()
    result = run("remove", "sam2.1_hiera_tiny")
    assert result.exit_code == 1
    assert "nothing to remove" in result.stderr
    assert "part of the package" in run("remove", registry.DEFAULT_MODEL).stderr


def test_an_interrupted_download_goes_on_with_the_same_command(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(bars.download, "ensure_checkpoint", interrupted)
    result = run("download", "sam2.1_hiera_tiny")
    assert result.exit_code == 130
    assert "goes on from what has arrived" in result.stderr


def test_download_says_why_it_cannot(run):
    result = run("download", "sam2.1_hq_hiera_tiny")
    assert result.exit_code == 1
    assert "No weights of sam2.1_hq_hiera_tiny have been published" in result.stderr
    assert run("download", "sam9").exit_code == 1


def test_info_and_version(run):
    result = run("info")
    assert result.exit_code == 0, result.output
    assert torch.__version__ in result.stdout
    assert napari_hqsam2.__version__ in run("--version").stdout


def test_the_package_runs_as_a_module():
    command = [sys.executable, "-m", "napari_hqsam2", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    for name in ("segment", "models", "download", "info"):
        assert name in done.stdout
