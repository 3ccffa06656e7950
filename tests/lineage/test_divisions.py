"""What cannot be is named, with what to do."""

from __future__ import annotations

import pytest

from napari_hqsam2.errors import LineageError
from napari_hqsam2.lineage.divisions import Division, Lineage, make_division
from napari_hqsam2.lineage.measuring import Span

SPANS = {1: Span(0, 2), 2: Span(3, 5), 3: Span(4, 5), 4: Span(0, 5), 5: Span(6, 9)}


def problems(*divisions, spans=SPANS, **options):
    return " ".join(Lineage(spans, divisions).problems(**options))


def test_a_division_that_can_be():
    lineage = Lineage(SPANS, (Division(3, 1, (2, 3)), Division(6, 2, (5,))))
    assert lineage.problems() == ()
    lineage.check()
    assert lineage.mothers == {2: 1, 3: 1, 5: 2}
    assert lineage.ancestors(5) == [2, 1]
    assert lineage.ancestors(1) == []


@pytest.mark.parametrize(
    ("divisions", "message"),
    [
        ([Division(3, 4, (2,))], "4 divides at T=3 but is still there at T=5"),
        ([Division(4, 1, (2, 3))], "Object 2 is there at T=3, before its mother 1"),
        ([Division(3, 1, (2, 8))], "Object 8 belongs to a division but is on no"),
        ([Division(3, 1, (2,)), Division(4, 1, (3,))], "Object 1 divides twice"),
        ([Division(3, 1, (2,)), Division(3, 9, (2,))], "Object 2 is a daughter twice"),
        ([Division(3, 1, ())], "no daughters"),
        ([Division(3, 8, (8, 2))], "Object 8 descends from itself"),
        ([Division(3, 8, (9,)), Division(4, 9, (8,))], "9 descends from itself"),
    ],
)
def test_what_is_wrong(divisions, message):
    assert message in problems(*divisions)
    with pytest.raises(LineageError):
        Lineage(SPANS, tuple(divisions)).check()


def test_a_daughter_of_a_circle_is_not_blamed():
    found = problems(Division(1, 8, (9, 7)), Division(2, 9, (8,)), Division(3, 7, (6,)))
    assert "Object 8 descends" in found
    assert "Object 7 descends" not in found


def test_objects_may_be_empty_for_a_while():
    assert problems(Division(3, 1, (2, 8)), need_pixels=False) == ""


def test_long_lists_are_cut():
    divisions = tuple(Division(0, 10 + n, (30 + n,)) for n in range(4))
    with pytest.raises(LineageError, match=r"\(3 more\.\)$"):
        Lineage({}, divisions).check()


def test_ids_of_any_type():
    assert make_division(1.0, [3, 2, 3], True) == Division(1, 1, (2, 3))
