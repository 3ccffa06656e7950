"""Work that nobody saved is there on another day, in a viewer without a window."""

from __future__ import annotations

import os
import shutil
import time

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_hqsam2.plugin import keeping, recovery
from napari_hqsam2.plugin.controller import PluginController
from napari_hqsam2.plugin.inference import SyncInference
from napari_hqsam2.plugin.napari_viewer import NapariViewer
from napari_hqsam2.plugin.recovery import RecoveryFolder
from napari_hqsam2.plugin.state import PluginState, Unsaved

DATA = np.arange(4 * 40 * 60, dtype=np.uint16).reshape(4, 40, 60)


@pytest.fixture
def folder(tmp_path):
    return RecoveryFolder(tmp_path / "unsaved")


@pytest.fixture
def start(fake_engine, make_timer, folder):
    """Opens a viewer on an image, as on another day."""

    def start(data=DATA, **state):
        viewer = ViewerModel()
        viewer.add_image(data, name="cells", axis_labels=("t", "y", "x"))
        viewer.dims.set_current_step(0, 1)
        return PluginController(
            PluginState(**state),
            NapariViewer(viewer),
            SyncInference(),
            fake_engine,
            make_timer,
            recovery=folder,
        )

    return start


@pytest.fixture
def work(start, timers):
    """A viewer in which two objects were clicked, one of them followed."""
    main = start()
    main.add_prompt_layers()
    click(main, timers, [[1, 10, 10], [2, 12, 10]])
    main.objects.new_object()
    click(main, timers, [[1, 20, 20]])
    assert main.segment_stack()
    main.objects.rename_object(2, "sister")
    return main


def click(main, timers, places):
    main.state.points.add(places)
    for timer in timers:
        timer.ring()


def places(folder):
    return sorted(folder.root.glob("*")) if folder.root.is_dir() else []


def rows(main):
    return [(row.obj_id, row.name, row.span) for row in main.state.objects]


@pytest.mark.parametrize("end", ["the viewer", "the image"])
def test_what_was_clicked_last_is_kept_in_the_end(
    start, timers, folder, monkeypatch, end
):
    """Before there was time for it: the model may be busy with the next frames."""
    main = start()
    main.add_prompt_layers()
    monkeypatch.setattr(main.desk, "keep", lambda _: None)
    click(main, timers, [[1, 10, 10]])
    assert places(folder) == []
    labels = main.state.labels.data.copy()
    assert labels.any()
    if end == "the viewer":
        main.close()
    else:
        main.viewer._viewer.layers.remove("cells")
        assert "saved nowhere" not in main.state.message.text
    main = start()
    assert main.state.unsaved.objects == 1
    main.recovery.restore()
    np.testing.assert_array_equal(main.state.labels.data, labels)


def test_what_is_not_kept_is_told_when_the_image_is_removed(start, timers, folder):
    main = start(keeps_work=False)
    main.add_prompt_layers()
    click(main, timers, [[1, 10, 10]])
    main.viewer._viewer.layers.remove("cells")
    assert "Prompts and scores of 1 object are gone" in main.state.message.text
    assert places(folder) == []


def test_what_was_not_saved_is_offered_and_restored(work, start, folder):
    assert len(places(folder)) == 1
    assert start().state.unsaved is None
    work.close()
    main = start()
    unsaved = main.state.unsaved
    assert unsaved.objects == 2
    assert abs(unsaved.when - time.time()) < 60
    assert main.state.objects == ()
    main.recovery.restore()
    assert main.state.message.text == "Restored 2 objects."
    assert rows(main) == rows(work)
    np.testing.assert_array_equal(main.state.labels.data, work.state.labels.data)
    np.testing.assert_array_equal(main.state.points.data, work.state.points.data)
    assert main.state.unsaved is None
    main.objects.rename_object(1, "mother")
    main.close()
    again = start()
    again.recovery.restore()
    assert [row.name for row in again.state.objects] == ["mother", "sister"]
    assert len(places(folder)) == 1


def test_nothing_is_kept_before_there_is_an_object(start, folder):
    main = start()
    main.add_prompt_layers()
    assert places(folder) == []
    main.close()
    assert places(folder) == []


def test_another_image_of_the_same_size_is_offered_nothing(work, start):
    work.close()
    assert start(DATA + 1).state.unsaved is None
    assert start(DATA[:3]).state.unsaved is None
    assert start(DATA.copy()).state.unsaved is not None


def test_work_that_is_saved_is_not_kept_as_well(work, start, folder, tmp_path):
    work.files.save(tmp_path / "mine.session")
    assert places(folder) == []
    work.objects.rename_object(1, "later")
    work.close()
    assert places(folder) == []
    assert start().state.unsaved is None


def test_saving_that_fails_keeps_it(work, start, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot be written"):
        work.files.save(tmp_path / "file" / "mine.session")
    work.objects.rename_object(1, "later")
    work.close()
    main = start()
    main.recovery.restore()
    assert [row.name for row in main.state.objects] == ["later", "sister"]


def test_work_without_objects_is_not_kept_for_another_day(work, folder):
    for obj_id in (1, 2):
        work.objects.delete_object(obj_id)
    assert len(places(folder)) == 1
    work.review.undo()
    assert rows(work)
    work.review.redo()
    work.close()
    assert places(folder) == []


def test_discarding_and_older_work(work, start, timers, folder):
    work.close()
    second = start()
    second.add_prompt_layers()
    click(second, timers, [[0, 5, 5]])
    assert second.state.unsaved is not None
    second.close()
    third = start()
    assert third.state.unsaved.objects == 1
    third.recovery.discard()
    assert third.state.unsaved.objects == 2
    third.recovery.discard()
    assert third.state.unsaved is None
    assert places(folder) == []


def test_two_viewers_do_not_take_each_others_work(work, start, folder):
    work.close()
    one, two = start(), start()
    assert one.state.unsaved == two.state.unsaved
    one.recovery.restore()
    two.recovery.restore()
    assert "open in another viewer" in two.state.message.text
    assert two.state.unsaved is None
    two.state.unsaved = Unsaved(places(folder)[0], 0.0, 2)
    two.recovery.discard()
    assert len(places(folder)) == 1
    one.objects.rename_object(1, "still here")
    assert one.state.message.severity != "problem"


def test_it_can_be_turned_off_and_on_again(work, start, timers, folder):
    work.state.keeps_work = False
    assert places(folder) == []
    work.objects.rename_object(1, "not kept")
    assert places(folder) == []
    work.state.keeps_work = True
    work.close()
    main = start(keeps_work=False)
    assert main.state.unsaved.objects == 2
    main.add_prompt_layers()
    click(main, timers, [[0, 5, 5]])
    assert len(places(folder)) == 1


def test_labels_that_were_there_come_too(start, timers):
    main = start()
    data = np.zeros((4, 40, 60), np.uint8)
    data[3, 30:, 50:] = 9
    main.viewer._viewer.add_labels(data, name="from elsewhere")
    main.state.labels = main.viewer.labels()[0].handle
    main.add_prompt_layers()
    click(main, timers, [[1, 10, 10]])
    main.close()
    again = start()
    again.recovery.restore()
    np.testing.assert_array_equal(again.state.labels.data, data)
    assert data[1].any()


def test_a_removed_image_can_be_taken_up_again(work, folder):
    viewer = work.viewer._viewer
    viewer.layers.remove(work.state.image)
    told = work.state.message.text
    assert told == (
        "2 objects of the removed image are kept. Open the image again to restore them."
    )
    assert work.state.unsaved is None
    work.state.image = viewer.add_image(DATA, axis_labels=("t", "y", "x"))
    assert work.state.unsaved.objects == 2


def test_nothing_is_said_of_a_removed_image_whose_work_was_saved(work, tmp_path):
    work.files.save(tmp_path / "mine.session")
    work.viewer._viewer.layers.remove("cells")
    assert work.state.message.text == "Open an image, or drop one on the viewer."


def test_axes_that_get_their_names_later(work, start):
    work.close()
    main = start()
    main.state.image.axis_labels = ("z", "y", "x")
    assert main.state.unsaved is None
    main.state.image.axis_labels = ("t", "y", "x")
    assert main.state.unsaved.objects == 2


@pytest.mark.parametrize("where", ["root", "later"])
def test_a_disk_that_is_full_is_told_once(start, timers, folder, monkeypatch, where):
    main, told = start(), []
    monkeypatch.setattr(main.viewer, "notify", lambda text, **_: told.append(text))
    main.add_prompt_layers()
    if where == "later":
        click(main, timers, [[0, 5, 5]])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        for x in range(10, 50, 10):
            click(main, timers, [[1, 10, x]])
    assert len(told) == 1
    assert "No space left" in told[0]
    monkeypatch.setattr(keeping.time, "monotonic", lambda: 1e9)
    click(main, timers, [[2, 10, 10]])
    main.close()
    again = start()
    again.recovery.restore()
    assert again.state.objects[0].num_frames == main.state.objects[0].num_frames


def test_old_and_much_work_makes_room(work, folder, monkeypatch):
    work.close()
    first = places(folder)[0]
    hours = 2 * recovery.STALE

    def age(place, seconds):
        for path in (*place.rglob("*"), place):
            os.utime(path, (time.time() - seconds,) * 2)

    for number in range(5):
        place = folder.root / f"copy-{number}"
        shutil.copytree(first, place)
        age(place, hours * (1 + number))
    (folder.root / "empty").mkdir()
    age(folder.root / "empty", 9 * hours)
    (folder.root / "just-made").mkdir()
    monkeypatch.setattr(recovery, "MOST", 6)
    folder.sweep()
    assert [p.name for p in places(folder) if "-" in p.name] == sorted(
        [first.name, "copy-0", "copy-1", "copy-2", "just-made"]
    )
    assert not (folder.root / "empty").exists()
    age(folder.root / "copy-2", recovery.MOST_SECONDS + 60)
    folder.sweep()
    assert not (folder.root / "copy-2").exists()
    kept = folder.claim(Unsaved(folder.root / "copy-1", 0.0, 1))
    monkeypatch.setattr(recovery, "MOST_BYTES", 1)
    folder.sweep()
    assert [p.name for p in places(folder)] == sorted(
        [first.name, "copy-1", "just-made"]
    )
    kept.remove()


def test_damaged_work_is_not_offered(work, start, folder, caplog):
    work.close()
    (places(folder)[0] / "work.session" / "session.json").write_text("{}")
    assert start().state.unsaved is None
    assert "cannot be read" in caplog.text


def test_a_place_that_cannot_be_locked_is_no_obstacle(work, start, monkeypatch, caplog):
    work.close()

    def refuse(_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(recovery.KeptWork, "claim", refuse)
    assert start().state.unsaved is None
    assert "Read-only file system" in caplog.text


def test_unsaved_work_of_1000_objects_is_found_quickly(work, start, folder):
    session = work.desk.open.subject.session
    mask = np.zeros((40, 60), bool)
    mask[5:15, 5:15] = True
    with session.one_step("many"):
        for number in range(3, 1003):
            session.new_object(obj_id=number)
            session.add_mask(number, number % 4, mask)
            session.lock(number, number % 4)
    work.close()
    began = time.monotonic()
    main = start()
    assert main.state.unsaved.objects == 1002
    assert time.monotonic() < began + 5
