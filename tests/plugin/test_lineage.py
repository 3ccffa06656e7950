"""Divisions, tracks and files in the plugin, without Qt and without napari."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from psygnal import Signal

from napari_hqsam2.errors import SessionError
from napari_hqsam2.lineage.divisions import Division
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.lineage import LineageController
from napari_hqsam2.plugin.state import PluginState
from napari_hqsam2.stack_files import PixelSize


class FakeTracks:
    """A `TracksPort` that remembers what it was told."""

    painted = Signal(object, tuple)

    def __init__(self):
        self.shown = []
        self.removed = 0
        self.is_closed = False

    def show_tracks(self, labels, tracks):
        self.shown.append((labels, tracks))

    def remove_tracks(self):
        self.removed += 1

    def pixel_sizes(self, labels):
        del labels
        return {"Y": PixelSize(0.5, "µm"), "X": PixelSize(0.5, "µm")}

    def close(self):
        self.is_closed = True


@pytest.fixture
def main(fake_viewer, fake_engine, make_timer):
    fake_viewer.add_image((6, 40, 50), "TYX")
    state = PluginState()
    main = PluginController(
        state, fake_viewer, SyncInference(), fake_engine, make_timer
    )
    main.state.points = fake_viewer.add_points(
        [[0, 20, 20], [3, 20, 14], [3, 20, 26]], [1, 2, 3]
    )
    return main


@pytest.fixture
def lineage(main, make_timer):
    return LineageController(main, FakeTracks(), make_timer)


@pytest.fixture
def divided(main, lineage, timers):
    """1 on frames 0 to 2, then 2 and 3 beside where it was."""
    for frames, ids in (((0, 3), [1]), ((3, 6), [2, 3])):
        main.state.frames = frames
        main.state.only_current = True
        for obj_id in ids:
            main.state.object_id = obj_id
            assert main.segment_stack()
    main.state.object_id = 1
    ring(timers)
    return lineage


def ring(timers):
    """Let all waiting be over, also that which begins by that."""
    for _ in range(4):
        for timer in timers:
            if timer.is_running:
                timer.is_running = False
                timer.callback()


def labels_of(main):
    return main.state.labels.data


def test_daughters_that_nobody_has_seen_are_refused(divided, main):
    divided.divide(1, {2, 77}, 3)
    assert "There is no object 77" in main.state.message.text
    assert 77 not in [row.obj_id for row in main.state.objects]
    main.state.labels.data[3, :2, :2] = 77
    divided.divide(1, {2, 77}, 3)
    assert main.state.message.text == "Object 1 divides into 2 and 77 at T = 3."


def test_what_cannot_be_written_is_named(divided, main, tmp_path):
    (tmp_path / "file").touch()
    divided.export(tmp_path / "file" / "it.csv", "csv")
    assert "it.csv cannot be written: " in main.state.message.text
    with pytest.raises(SessionError):
        main.files.save(tmp_path / "file" / "it.session")
    assert "it.session cannot be written: " in main.state.message.text


def test_nothing_is_measured_unless_wanted(divided):
    assert divided._port.shown == []
    assert divided._watch.live.missing() != []


def test_tracks_follow_the_labels(divided, main, timers):
    divided.show_tracks(True)
    ring(timers)
    labels, tracks = divided._port.shown[-1]
    assert labels is main.state.labels
    assert sorted(set(tracks.data[:, 0])) == [1, 2, 3]
    assert len(tracks.data) == 9
    main.objects.delete_object(3)
    ring(timers)
    assert sorted(set(divided._port.shown[-1][1].data[:, 0])) == [1, 2]
    main.review.undo()
    ring(timers)
    assert len(divided._port.shown[-1][1].data) == 9


def test_only_what_changed_is_measured(divided, main, timers, monkeypatch):
    divided.show_tracks(True)
    ring(timers)
    places = []
    live = divided._watch.live
    put = live.put
    monkeypatch.setattr(live, "put", lambda p, plane: (places.append(p), put(p, plane)))
    labels_of(main)[4, :3, :3] = 2
    divided._port.painted.emit(main.state.labels, ((4,),))
    ring(timers)
    assert places == [(4,)]
    first = divided._port.shown[-1][1]
    assert first.features["area"][first.data[:, 0] == 2].tolist() == [25, 34, 25]


def test_what_is_shown_is_not_made_again(divided, main, timers):
    divided.show_tracks(True)
    ring(timers)
    number = len(divided._port.shown)
    divided._port.painted.emit(main.state.labels, ((4,),))
    main.objects.rename_object(2, "left")
    ring(timers)
    assert len(divided._port.shown) == number
    main.objects.hide_object(2, True)
    ring(timers)
    assert len(divided._port.shown) == number + 1


def test_off_is_off(divided, main, timers):
    divided.show_tracks(True)
    ring(timers)
    number = len(divided._port.shown)
    divided.show_tracks(False)
    assert divided._port.removed == 1
    main.objects.delete_object(3)
    ring(timers)
    assert len(divided._port.shown) == number


def test_a_division_by_hand(divided, main, timers):
    divided.divide(1, [2, 3], 3)
    ring(timers)
    assert divided.state.divisions == (Division(3, 1, (2, 3)),)
    assert main.state.message.text == "Object 1 divides into 2 and 3 at T = 3."
    divided.show_tracks(True)
    ring(timers)
    assert divided._port.shown[-1][1].graph == {2: [1], 3: [1]}
    main.review.undo()
    ring(timers)
    assert divided.state.divisions == ()
    main.review.redo()
    divided.clear_division(1)
    ring(timers)
    assert divided.state.divisions == ()


def test_a_mother_whose_label_goes_on(divided, main, timers):
    labels_of(main)[4, 30:33, 30:33] = 1
    divided.divide(1, [2, 3], 3)
    ring(timers)
    assert divided.state.divisions == (Division(3, 1, (2, 3, 4)),)
    assert (labels_of(main)[4, 30:33, 30:33] == 4).all()


def test_prompts_go_with_what_is_split(main, lineage, timers, fake_viewer):
    points = fake_viewer.add_points([[0, 20, 20], [4, 20, 20]], [1, 1])
    main.state.points = points
    assert main.segment_stack()
    ring(timers)
    lineage.divide(1, [], 3)
    ring(timers)
    assert lineage.state.divisions == (Division(3, 1, (2,)),)
    assert points.obj_ids == [1, 2]
    assert [main.state.objects[n].num_frames for n in (0, 1)] == [3, 3]
    main.review.undo()
    ring(timers)
    assert points.obj_ids == [1, 1]


def test_what_cannot_be_is_said(divided, main, fake_viewer):
    divided.divide(2, [1], 4)
    assert "Object 1 is there at T=0, before its mother" in fake_viewer.notes[-1]
    assert main.state.message.severity == "problem"


def test_suggestions_are_accepted_or_refused(divided, main, fake_viewer, timers):
    labels_of(main)[:3, 17:24, 17:24] = 1
    divided.suggest()
    (found,) = divided.state.suggestions
    assert found.division == Division(3, 1, (2, 3))
    assert main.state.message.text == "1 possible division found."
    divided.go_to(found.division)
    assert fake_viewer.position == (3,)
    divided.refuse(found)
    divided.suggest()
    assert divided.state.suggestions == ()
    assert main.state.message.text == "No division found."
    divided._refused.clear()
    divided.suggest()
    divided.accept(divided.state.suggestions[0])
    ring(timers)
    assert divided.state.suggestions == ()
    assert divided.state.divisions == (found.division,)


def test_out_and_in(divided, main, fake_viewer, tmp_path, timers):
    divided.divide(1, [2, 3], 3)
    divided.export(tmp_path / "01_RES", "ctc")
    assert main.state.message.text.startswith("Exported to")
    before = labels_of(main).copy()
    main.state.image = fake_viewer.add_image((6, 40, 50), "TYX")
    main.state.points = None
    main.state.labels = None
    divided.import_tracks(tmp_path / "01_RES")
    ring(timers)
    assert main.state.message.text == "Imported 3 objects from 01_RES."
    np.testing.assert_array_equal(labels_of(main), before)
    assert divided.state.divisions == (Division(3, 1, (2, 3)),)


def test_exports_know_pixel_sizes(divided, tmp_path):
    divided.export(tmp_path / "it.ome.tif", "ome-tiff")
    with tifffile.TiffFile(tmp_path / "it.ome.tif") as tiff:
        assert 'PhysicalSizeY="0.5"' in tiff.ome_metadata


def test_what_a_removed_layer_showed_can_be_exported(divided, fake_viewer, tmp_path):
    before = labels_of(divided.main).copy()
    fake_viewer.remove(divided.main.state.labels)
    asked = []
    divided._port.pixel_sizes = lambda labels: asked.append(labels) or {}
    divided.export(tmp_path / "it.ome.tif", "ome-tiff")
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "it.ome.tif"), before)
    assert None not in asked


def test_an_export_that_cannot_be(divided, fake_viewer, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    divided.export(tmp_path / "mine", "geff")
    assert "nothing in it is lost" in fake_viewer.notes[-1]


def test_nothing_to_work_on(lineage, main):
    lineage.suggest()
    assert "no objects yet" in main.state.message.text


def test_prompts_are_left_to_the_task_that_answers_them(divided, main, timers):
    item = main.desk.open
    main.state.points.data[1] = [3, 30, 30]
    main.desk.read_prompts(item)
    divided.show_tracks(True)
    ring(timers[1:])
    assert len(item.subject.mail.take()) == 1


def test_without_a_session_nobody_waits(main, lineage, timers):
    main.desk.begin()
    lineage.show_tracks(True)
    ring(timers)
    assert not any(timer.is_running for timer in timers)


def test_depth_is_not_time(main, lineage, fake_viewer):
    main.state.image = fake_viewer.add_image((4, 40, 50), "ZYX")
    assert not lineage.has_time
    assert lineage.time is None
    lineage.show_tracks(True)
    assert not lineage.state.has_tracks


def test_another_image_starts_anew(divided, main, fake_viewer, timers):
    divided.divide(1, [2, 3], 3)
    ring(timers)
    first, labels = main.state.image, main.state.labels
    main.state.image = fake_viewer.add_image((6, 40, 50), "TYX")
    assert divided.state.divisions == ()
    main.state.image, main.state.labels = first, labels
    ring(timers)
    assert divided.state.divisions == (Division(3, 1, (2, 3)),)


def test_closed_it_listens_no_more(divided, main, timers, fake_engine):
    divided.show_tracks(True)
    ring(timers)
    divided.close()
    assert divided._port.is_closed
    assert len(fake_engine.sessions[0].events.labels) == 0
    number = len(divided._port.shown)
    main.objects.delete_object(2)
    ring(timers)
    assert len(divided._port.shown) == number
