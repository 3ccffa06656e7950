"""The list of objects, driven with mouse and keys."""

import gc
import weakref
from dataclasses import replace
from itertools import pairwise
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from qtpy.QtCore import QEvent, QObject, QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLineEdit

from napari_hqsam2.plugin.rows import ObjectRow
from napari_hqsam2.plugin.state import CUTS, PluginState, RunStatus
from napari_hqsam2.plugin.widgets.colours import AMBER
from napari_hqsam2.plugin.widgets.object_delegate import (
    ROW_HEIGHT,
    ROW_ROLE,
    Columns,
    lay_out_row,
)
from napari_hqsam2.plugin.widgets.object_list import (
    ObjectList,
    ObjectModel,
    describe_object,
)
from napari_hqsam2.plugin.widgets.objects_panel import (
    EMPTY,
    NO_LAYERS,
    ObjectsPanel,
    next_step,
)

WIDTH = 300


class FakeController:
    """Does on rows what the real one does on objects, and notes what was asked."""

    def __init__(self, state):
        self.state = state
        self.calls = []

    def new_object(self):
        self.calls.append("new")
        self.state.object_id = 1 + max(
            (row.obj_id for row in self.state.objects), default=0
        )

    def select_object(self, obj_id):
        self.calls.append(("select", obj_id))
        self.state.object_id = obj_id

    def rename_object(self, obj_id, name):
        self.calls.append(("rename", obj_id, name))
        self._change(obj_id, name=name)

    def hide_object(self, obj_id, is_hidden):
        self.calls.append(("hide", obj_id, is_hidden))
        self._change(obj_id, is_hidden=is_hidden)

    def cut_object(self, obj_id, cut):
        self.calls.append(("cut", obj_id, cut))

    def join_objects(self, obj_id, other):
        self.calls.append(("join", obj_id, other))

    def delete_object(self, obj_id):
        self.calls.append(("delete", obj_id))
        rows = self.state.objects
        self.state.objects = tuple(row for row in rows if row.obj_id != obj_id)
        self.state.object_id = rows[0].obj_id

    def set_hq_mode(self, obj_id, hq_mode):
        self.calls.append(("masks", obj_id, hq_mode))
        self._change(obj_id, hq_mode=hq_mode)

    def propose_everything(self):
        self.calls.append("propose")

    def _change(self, obj_id, **changes):
        self.state.objects = tuple(
            replace(row, **changes) if row.obj_id == obj_id else row
            for row in self.state.objects
        )


def doubts(number):
    return tuple(((frame,), "it jumps") for frame in range(number))


def make_rows(ids, **values):
    return tuple(
        ObjectRow(i, f"cell {i}", (0.2, 0.4, 0.9), "T 3 to 41", 39, **values)
        for i in ids
    )


def make_controller(ids=(), **values):
    values = {"objects": make_rows(ids), "image": "an image"} | values
    return FakeController(PluginState(**values))


@pytest.fixture
def opened(qtbot):
    """Panel with objects 1 to 4, the second current."""
    controller = make_controller(range(1, 5), object_id=2)
    panel = ObjectsPanel(controller)
    qtbot.addWidget(panel)
    panel.resize(WIDTH, 400)
    panel.show()
    return panel, controller


def shown(panel):
    model = panel.objects.model()
    return [model.index(i, 0).data(ROW_ROLE) for i in range(model.rowCount())]


def row_rect(panel, number):
    return panel.objects.visualRect(panel.objects.model().index(number, 0))


def click(panel, number, part):
    where = getattr(lay_out_row(row_rect(panel, number), Columns()), part)
    left = Qt.MouseButton.LeftButton
    point = where.center()
    QTest.mouseClick(panel.objects.viewport(), left, pos=QPoint(point.x(), point.y()))


def press(panel, key):
    QTest.keyClick(panel.objects, key)


def editor(panel):
    return panel.objects.viewport().findChild(QLineEdit)


def rename(panel):
    press(panel, Qt.Key.Key_F2)
    typed = editor(panel)
    typed.selectAll()
    return typed


def finish(qtbot, panel, key=Qt.Key.Key_Return):
    QTest.keyClick(editor(panel), key)
    qtbot.waitUntil(lambda: editor(panel) is None)


def test_an_empty_list_tells_the_next_step(qtbot):
    controller = make_controller()
    panel = ObjectsPanel(controller)
    qtbot.addWidget(panel)
    assert panel.hint.text() == NO_LAYERS
    controller.state.points = "a layer"
    assert panel.hint.text() == EMPTY
    assert not panel.objects.isVisibleTo(panel)
    qtbot.mouseClick(panel.find_all, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(panel.new_object, Qt.MouseButton.LeftButton)
    assert controller.calls == ["propose", "new"]


def test_without_an_image_nothing_can_be_started(qtbot):
    controller = make_controller(image=None)
    panel = ObjectsPanel(controller)
    qtbot.addWidget(panel)
    assert not panel.new_object.isEnabled()
    assert not panel.find_all.isEnabled()
    controller.state.image = "an image"
    assert panel.new_object.isEnabled()
    controller.state.run = RunStatus("running")
    assert panel.new_object.isEnabled()
    assert not panel.find_all.isEnabled()


@pytest.mark.parametrize(
    ("rows", "current", "words"),
    [
        ((), 1, EMPTY),
        (make_rows([1, 2]), 1, ""),
        (make_rows([1, 2]), 3, "The next click or box starts object 3."),
        (make_rows([1], doubts=doubts(4)), 1, "1 object has doubtful frames (J)."),
        (make_rows([1, 2], doubts=doubts(4)), 1, "2 objects have doubtful frames (J)."),
    ],
)
def test_the_line_below_says_what_to_do(rows, current, words):
    assert next_step(rows, current, can_click=True) == words


def test_a_click_makes_an_object_current(opened):
    panel, controller = opened
    assert panel.objects.currentIndex().row() == 1
    click(panel, 2, "text")
    assert controller.calls == [("select", 3)]
    assert panel.objects.currentIndex().row() == 2


def test_arrow_keys_walk_through_the_objects(opened):
    panel, controller = opened
    press(panel, Qt.Key.Key_Down)
    press(panel, Qt.Key.Key_End)
    press(panel, Qt.Key.Key_Up)
    assert controller.calls == [("select", 3), ("select", 4), ("select", 3)]


def test_the_state_moves_the_current_row_without_an_echo(opened):
    panel, controller = opened
    controller.state.object_id = 4
    assert panel.objects.currentIndex().row() == 3
    controller.state.objects = make_rows([4, 9])
    assert panel.objects.currentIndex().row() == 0
    controller.state.object_id = 17
    assert not panel.objects.currentIndex().isValid()
    assert "object 17" in panel.hint.text()
    assert controller.calls == []


def test_the_eye_hides_and_shows_and_selects_nothing(opened):
    panel, controller = opened
    click(panel, 3, "eye")
    assert shown(panel)[3].is_hidden
    click(panel, 3, "eye")
    assert not shown(panel)[3].is_hidden
    assert controller.calls == [("hide", 4, True), ("hide", 4, False)]
    assert panel.objects.currentIndex().row() == 1


def test_f2_renames_in_place(opened, qtbot):
    panel, controller = opened
    typed = rename(panel)
    assert typed.text() == "cell 2"
    QTest.keyClicks(typed, " mother ")
    finish(qtbot, panel)
    assert controller.calls == [("rename", 2, "mother")]
    assert shown(panel)[1].name == "mother"


def test_a_double_click_renames(opened):
    panel, _ = opened
    click(panel, 0, "text")
    where = row_rect(panel, 0).center()
    left = Qt.MouseButton.LeftButton
    QTest.mouseDClick(panel.objects.viewport(), left, pos=where)
    assert editor(panel).text() == "cell 1"


@pytest.mark.parametrize(
    ("text", "key"),
    [(" ", Qt.Key.Key_Return), ("mother", Qt.Key.Key_Escape)],
    ids=["no name", "escape"],
)
def test_a_name_stays_if_none_is_given(opened, qtbot, text, key):
    panel, controller = opened
    typed = rename(panel)
    QTest.keyClicks(typed, text)
    finish(qtbot, panel, key)
    assert controller.calls == []
    assert shown(panel)[1].name == "cell 2"


def test_a_run_that_goes_on_does_not_disturb_typing(opened, qtbot):
    panel, controller = opened
    typed = rename(panel)
    QTest.keyClicks(typed, "moth")
    controller._change(2, num_frames=40)
    controller.state.objects = make_rows([0]) + controller.state.objects
    QTest.keyClicks(typed, "er")
    finish(qtbot, panel)
    assert controller.calls == [("rename", 2, "mother")]


def test_delete_asks_nothing_and_selects_nothing_else(opened):
    panel, controller = opened
    press(panel, Qt.Key.Key_Delete)
    assert controller.calls == [("delete", 2)]
    assert [row.obj_id for row in shown(panel)] == [1, 3, 4]
    assert panel.objects.currentIndex().row() == 0


def test_after_delete_the_arrow_keys_go_on_from_there(qtbot):
    objects, chosen = ObjectList(), []
    qtbot.addWidget(objects)
    objects.chosen.connect(chosen.append)
    for key, ids in ((Qt.Key.Key_Down, [1, 2, 4, 5]), (Qt.Key.Key_Up, [1, 2])):
        objects.show_objects(make_rows([1, 2, 3, 4, 5]), 3)
        objects.show_objects(make_rows(ids), 3)
        QTest.keyClick(objects, key)
    assert chosen == [4, 2]


def test_the_menu_offers_what_the_keys_do(opened):
    panel, controller = opened
    actions = {
        action.text().partition("\t")[0]: action for action in panel.objects.actions()
    }
    actions["Hide or show"].trigger()
    actions["Delete"].trigger()
    actions["Rename"].trigger()
    assert controller.calls == [("hide", 2, True), ("delete", 2)]
    assert editor(panel).text() == "cell 1"


def test_the_menu_offers_ways_to_make_masks(opened):
    panel, controller = opened
    menu = panel.objects.masks
    assert menu.menuAction() in panel.objects.actions()

    def offers():
        menu.aboutToShow.emit()
        return {action.text(): action for action in menu.actions()}

    def marked():
        return [text for text, action in offers().items() if action.isChecked()]

    assert marked() == ["As those of all objects"]
    offers()["Plain SAM 2"].trigger()
    assert marked() == ["Plain SAM 2"]
    offers()["As those of all objects"].trigger()
    assert controller.calls == [("masks", 2, "off"), ("masks", 2, None)]
    controller.state.model = "sam2.1_hiera_large"
    assert not menu.isEnabled(), "this model has one way only"


def test_the_menu_offers_cuts_of_stacks(opened):
    panel, controller = opened
    cuts = panel.objects.cuts
    assert cuts.menuAction() in panel.objects.actions()
    assert not cuts.isEnabled(), "there is no axis to cut along"
    controller.state.axis = "T"
    assert cuts.isEnabled()
    for action in cuts.actions():
        action.trigger()
    assert controller.calls == [("cut", 2, how) for how in CUTS]


def test_the_menu_offers_to_join_with_any_other(opened):
    panel, controller = opened
    joins, rows = panel.objects.joins, controller.state.objects
    assert joins.menuAction() in panel.objects.actions()
    joins.aboutToShow.emit()
    others = [row for row in rows if row.obj_id != 2]
    assert [a.text() for a in joins.actions()] == [
        f"{r.name}\t{r.span}" for r in others
    ]
    joins.actions()[0].trigger()
    assert controller.calls == [("join", 2, others[0].obj_id)]
    controller.state.objects = rows[:1]
    assert not joins.isEnabled(), "there is no other"


def test_other_keys_go_on_to_the_viewer(opened):
    class Watch(QObject):
        keys: ClassVar[list[int]] = []

        def eventFilter(self, watched, event):  # noqa: N802 - named by Qt
            if event.type() == QEvent.Type.KeyPress:
                self.keys.append(event.key())
            return False

    panel, controller = opened
    watch = Watch()
    panel.installEventFilter(watch)
    for key in (Qt.Key.Key_J, Qt.Key.Key_N, Qt.Key.Key_Down):
        press(panel, key)
    assert watch.keys == [Qt.Key.Key_J, Qt.Key.Key_N]
    assert controller.calls == [("select", 3)]


@given(st.lists(st.lists(st.integers(1, 8), unique=True), min_size=1, max_size=5))
def test_the_model_tells_of_every_change(lists):
    model, mirror = ObjectModel(), []

    def read(first, last):
        return [model.index(i).data(ROW_ROLE) for i in range(first, last + 1)]

    def on_inserted(_, first, last):
        mirror[first:first] = read(first, last)

    def on_removed(_, first, last):
        del mirror[first : last + 1]

    def on_changed(start, end):
        mirror[start.row() : end.row() + 1] = read(start.row(), end.row())

    model.rowsInserted.connect(on_inserted)
    model.rowsRemoved.connect(on_removed)
    model.dataChanged.connect(on_changed)
    for step, ids in enumerate(lists):
        rows = make_rows(ids, doubts=doubts(step // 2))
        model.show_rows(rows)
        assert mirror == list(rows)


def test_one_change_among_thousands_touches_one_row(qtbot):
    model = ObjectModel()
    rows = make_rows(range(1, 5001))
    model.show_rows(rows)
    touched = []
    model.dataChanged.connect(lambda a, b: touched.append((a.row(), b.row())))
    model.show_rows((*rows[:77], replace(rows[77], num_frames=1), *rows[78:]))
    assert touched == [(77, 77)]


def test_many_objects_scroll_in_a_list_of_limited_height(opened):
    panel, controller = opened
    assert panel.objects.height() == 4 * ROW_HEIGHT + 2
    controller.state.objects = make_rows(range(1, 1001))
    controller.state.object_id = 900
    assert panel.objects.height() == 8 * ROW_HEIGHT + 2
    assert panel.objects.viewport().rect().contains(row_rect(panel, 899).center())


def test_the_panel_fits_a_narrow_dock(opened):
    panel, controller = opened
    rows = make_rows([1], doubts=doubts(2000), num_locked=3)
    controller.state.objects = (replace(rows[0], name="a long name " * 9),)
    assert panel.minimumSizeHint().width() <= WIDTH


def test_doubts_are_seen_in_amber(opened):
    panel, controller = opened

    def colours():
        image = panel.objects.grab().toImage()
        places = range(image.width())
        return {image.pixelColor(x, ROW_HEIGHT // 2 + 5).name() for x in places}

    assert AMBER.name() not in colours()
    controller._change(1, doubts=doubts(3))
    assert AMBER.name() in colours()


def test_parts_of_rows_line_up(opened):
    panel, _ = opened
    columns = Columns(has_doubts=True, has_locks=True)
    first, second = (lay_out_row(row_rect(panel, i), columns) for i in (0, 1))
    for part in ("swatch", "text", "badge", "lock", "eye"):
        assert getattr(first, part).left() == getattr(second, part).left()
    parts = [first.text, first.badge, first.lock, first.eye]
    for left, right in pairwise(parts):
        assert left.right() < right.left()


def test_the_tool_tip_says_everything():
    row = replace(
        make_rows([7])[0],
        doubts=doubts(1),
        num_locked=2,
        prompts=(3, 2, 0),
        confidence=0.823,
        hq_mode="only",
    )
    assert describe_object(row) == (
        "cell 7 · label 7\nT 3 to 41 · 39 frames\n3 points, 2 boxes\n"
        "82% sure on average\nmasks: High-quality head alone\n"
        "1 doubtful frame to look at\n2 frames accepted"
    )
    fresh = ObjectRow(8, "cell 8", (1, 0, 0), "", 0)
    assert describe_object(fresh) == "cell 8 · label 8"


def test_a_closed_panel_is_gone_and_not_missed(qtbot):
    controller = make_controller([1])
    panel = ObjectsPanel(controller)
    alive = weakref.ref(panel)
    del panel
    gc.collect()
    assert alive() is None
    controller.state.object_id = 5
