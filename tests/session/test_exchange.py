"""Exports tell what the session knows; imports go on from there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile
import zarr
from typer.testing import CliRunner

from napari_hqsam2 import Session
from napari_hqsam2.cli import app
from napari_hqsam2.errors import LineageError, PromptError
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.lineage.tables import read_csv
from napari_hqsam2.stack_files import PixelSize

SIZES = {
    "T": PixelSize(2.0, "min"),
    "Y": PixelSize(0.5, "µm"),
    "X": PixelSize(0.5, "µm"),
}


@pytest.fixture
def labels(stack):
    labels = np.zeros(stack.shape, np.int32)
    labels[:3, 10:20, 10:30] = 1
    labels[3:, 10:20, 5:15] = 2
    labels[3:, 10:20, 25:35] = 3
    return labels


@pytest.fixture
def session(stack, labels, predictor):
    session = Session(stack, axes="TYX", labels=labels.copy(), model=predictor)
    session.adopt_labels([(1, (2, 3), 3)])
    session.rename(1, "mother")
    session.lock(1, 1)
    session.add_mask(2, 4, labels[4] == 2)
    session.segment(4, [2])
    return session


def test_tables_tell_of_prompts_and_locks(session, tmp_path):
    rows = read_csv(session.export(tmp_path / "it.csv", pixel_sizes=SIZES))
    found = {(row.object_id, row.t): row for row in rows}
    assert len(found) == 9
    assert found[1, 1].locked == 1
    assert found[1, 0].locked == found[1, 0].prompts == 0
    assert found[1, 0].name == "mother"
    assert found[2, 4].prompts == 1
    assert found[2, 4].iou_score == 1.0
    assert found[2, 3].mother == 1
    assert found[2, 4].time == 8.0


def test_provenance_is_whole(session, tmp_path):
    session.set_hq_mode(2, "off")
    path = session.export(tmp_path / "it.zarr", pixel_sizes=SIZES)
    told = zarr.open_group(path, mode="r").attrs["napari-hqsam2"]
    assert told["software"].startswith("napari-hqsam2 ")
    assert len(told["parameters_sha256"]) == 64
    assert json.loads(told["settings"])["tracking"] is None
    (prompts,) = json.loads(told["prompts"])
    assert (prompts["object"], prompts["position"]) == (2, [4])
    assert prompts["mask"]
    assert json.loads(told["hq_modes"]) == {"2": "off"}


def test_what_goes_out_comes_in(session, stack, labels, tmp_path):
    session.export(tmp_path / "01_RES")
    again = Session(stack, axes="TYX")
    assert again.import_tracks(tmp_path / "01_RES") == (1, 2, 3)
    np.testing.assert_array_equal(again.labels, labels)
    assert again.divisions() == (Division(3, 1, (2, 3)),)
    repeated = {"stack": stack}
    exec(again.as_python(), repeated)  # noqa: S102
    np.testing.assert_array_equal(repeated["session"].labels, labels)
    assert repeated["session"].divisions() == again.divisions()
    assert again.undo_names == ("import",)
    again.undo()
    assert not again.labels.any()
    assert again.obj_ids == ()


def test_tables_name_labels(session, stack, labels, tmp_path):
    session.export(tmp_path / "it.csv")
    session.export(tmp_path / "it.tif")
    again = Session(stack, axes="TYX")
    with pytest.raises(LineageError, match="Import the labels first"):
        again.import_tracks(tmp_path / "it.csv")
    again.import_tracks(tmp_path / "it.tif")
    assert again.divisions() == ()
    assert again.import_tracks(tmp_path / "it.csv") == ()
    assert again.divisions() == session.divisions()
    assert again.objects()[0].name == "mother"


def test_graphs_become_points(session, stack, tmp_path):
    session.export(tmp_path / "it.geff")
    again = Session(stack, axes="TYX")
    assert again.import_tracks(tmp_path / "it.geff") == (1, 2, 3)
    assert again.divisions() == session.divisions()
    (first, *_) = again.prompts(1)
    assert first.position == (0,)
    assert (first.points[0].y, first.points[0].x) == (14.5, 19.5)
    assert again.objects()[0].name == "mother"
    short = Session(stack[:4], axes="TYX")
    with pytest.raises(PromptError, match="no frame T=4"):
        short.import_tracks(tmp_path / "it.geff")


def test_graphs_of_labels_that_are_there(session, stack, labels, tmp_path):
    session.export(tmp_path / "it.geff")
    again = Session(stack, axes="TYX", labels=labels.copy())
    again.import_tracks(tmp_path / "it.geff")
    assert again.divisions() == session.divisions()
    assert again.prompts(1) == ()


def test_labels_that_do_not_fit(session, stack, labels, tmp_path):
    tifffile.imwrite(tmp_path / "small.tif", labels[:, 1:], metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "float.tif", labels.astype("f4"))
    again = Session(stack, axes="TYX")
    with pytest.raises(LineageError, match=r"small.tif have axes TYX and shape"):
        again.import_tracks(tmp_path / "small.tif")
    with pytest.raises(LineageError, match=r"float.tif is float32"):
        again.import_tracks(tmp_path / "float.tif")
    session.export(tmp_path / "it.tif")
    with pytest.raises(LineageError, match="has labels already"):
        session.import_tracks(tmp_path / "it.tif")


@pytest.fixture
def run(monkeypatch, tmp_path):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def invoke(line):
        return CliRunner().invoke(app, line.split())

    return invoke


@pytest.fixture
def files(tmp_path, stack, labels):
    """A stack and labels as files, and a saved session of them."""
    tifffile.imwrite(tmp_path / "nuclei.tif", stack, metadata={"axes": "TYX"})
    tifffile.imwrite(tmp_path / "labels.tif", labels, metadata={"axes": "TYX"})
    with Session(tmp_path / "nuclei.tif", labels=labels.copy()) as session:
        session.adopt_labels([(1, (2, 3), 3)])
        session.rename(1, "mother")
        session.save(tmp_path / "nuclei.session")


def test_commands_there_and_back(run, files, tmp_path, labels, stack):
    result = run("export nuclei.session --to ctc -o 01_RES")
    assert result.output == "01_RES: 3 objects, 1 divisions\n"
    result = run("import 01_RES --stack nuclei.tif -o again.session")
    assert result.output == "again.session: 3 objects, 1 divisions\n"
    session = Session.load(tmp_path / "again.session", stack)
    np.testing.assert_array_equal(session.labels, labels)
    assert run("export 01_RES -o graph.geff").exit_code == 0
    line = "import graph.geff --labels labels.tif --stack nuclei.tif -o third.session"
    assert run(line).exit_code == 0
    third = Session.load(tmp_path / "third.session", stack)
    assert third.divisions() == session.divisions()


def test_commands_with_labels_and_session(run, files, tmp_path):
    result = run("export labels.tif --session nuclei.session -o it.csv")
    assert result.exit_code == 0, result.output
    assert read_csv(tmp_path / "it.csv")[0].name == "mother"
    assert run("export labels.tif -o labels.zarr").exit_code == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("export labels.tif -o it.png", "stands for no format"),
        ("export nuclei.session -o labels.session", "stands for no format"),
        ("export short.tif --session nuclei.session -o it.csv", "has T=2, Y=40, X=50"),
        ("import 02_RES --stack nuclei.tif -o it.session", "no file or folder 02_RES"),
    ],
)
def test_commands_that_fail_say_why(run, files, tmp_path, labels, line, message):
    tifffile.imwrite(tmp_path / "short.tif", labels[:2], metadata={"axes": "TYX"})
    result = run(line)
    assert result.exit_code == 1
    assert message in result.output
    assert not (tmp_path / "it.session").exists()


def test_tracks_are_what_a_tracks_layer_takes(stack, predictor):
    session = Session(stack, axes="TYX", model=predictor)
    one, two, three = (session.new_object() for _ in range(3))
    for obj_id, frame, left in (
        (one, 0, 10),
        (one, 1, 11),
        (two, 2, 6),
        (three, 2, 20),
    ):
        session.labels[frame, 4:7, left : left + 3] = obj_id
    session.set_division(one, [two, three], 2)
    tracks = session.tracks()
    assert tracks.data.tolist() == [
        [1, 0, 5, 11],
        [1, 1, 5, 12],
        [2, 2, 5, 7],
        [3, 2, 5, 21],
    ]
    assert tracks.graph == {2: [1], 3: [1]}
    assert tracks.features["generation"].tolist() == [0, 0, 1, 1]
