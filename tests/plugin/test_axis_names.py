import pytest

from napari_hqsam2.errors import StackError
from napari_hqsam2.plugin.axis_names import name_axes


@pytest.mark.parametrize(
    ("labels", "letters", "named"),
    [
        (("-2", "-1"), "YX", False),
        (("-3", "-2", "-1"), "TYX", False),
        (("0", "1", "2", "3"), "TZYX", False),
        (("axis -3", "axis -2", "axis -1"), "TYX", False),
        (("t", "y", "x"), "TYX", True),
        (("Time", "Depth", "row", "column"), "TZYX", True),
        (("channel", "z", "y", "x"), "CZYX", True),
    ],
)
def test_labels_become_letters(labels, letters, named):
    axes = name_axes(labels, tuple(range(5, 5 + len(labels))))
    assert axes.stack.letters == letters
    assert axes.named is named


def test_rgb_adds_a_colour_axis_at_the_end():
    axes = name_axes(("z", "y", "x"), (4, 8, 9, 3), rgb=True)
    assert axes.stack.letters == "ZYXC"
    assert axes.stack.labels_shape == (4, 8, 9)


def test_words_use_names_only_where_somebody_gave_them():
    named = name_axes(("z", "y", "x"), (4, 8, 9))
    unnamed = name_axes(("-3", "-2", "-1"), (4, 8, 9))
    assert (named.word("Z"), named.counted("Z")) == ("Z", "slices")
    assert (unnamed.word("T"), unnamed.counted("T")) == ("axis 0", "frames")
    assert named.where((3,)) == "Z = 3"
    assert named.summary == "Z 4 · Y 8 · X 9"
    assert unnamed.summary == "axis 0: 4 · Y 8 · X 9"
    colours = name_axes(("-3", "-2", "-1"), (4, 8, 9, 3), rgb=True)
    assert colours.summary == "axis 0: 4 · Y 8 · X 9 · RGB"
    assert name_axes(("y", "x"), (8, 9)).where(()) == "the image"


@pytest.mark.parametrize(
    ("labels", "rgb", "message"),
    [
        (("y", "x", "z"), False, "do not end in Y, X"),
        (("t", "c", "y", "x"), False, "Put C first"),
        (("c", "y", "x"), True, "channels C"),
        (("t", "time", "y", "x"), False, "its own letter"),
        (("?", "y", "x"), False, "its own letter"),
        (("-5", "-4", "-3", "-2", "-1"), False, "5 axes without names"),
        (("p", "t", "z", "y", "x"), False, "at most 2 axes"),
    ],
)
def test_unclear_axes_are_refused(labels, rgb, message):
    shape = (4,) * len(labels) + ((3,) if rgb else ())
    with pytest.raises(StackError, match=message):
        name_axes(labels, shape, rgb=rgb)
