"""Rows that survive interruptions, and folders that are not mixed up."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.results import Journal, Table, mean, write_table

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.evaluation.results import Run


@dataclass(frozen=True)
class Score:
    item: str
    count: int
    value: float


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    first = Journal(path, Score)
    first.add('a "quoted", name', [Score('a "quoted", name', 3, 1 / 3)])
    first.add("empty", [])
    first.add("b", [Score("b", 1, math.nan), Score("b", 2, 0.5)])
    second = Journal(path, Score)
    assert second.finished == {'a "quoted", name', "empty", "b"}
    assert second.rows[0] == first.rows[0] == Score('a "quoted", name', 3, 0.333333)
    assert math.isnan(second.rows[1].value)
    assert second.rows[2] == Score("b", 2, 0.5)


def test_an_item_that_was_interrupted_is_done_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    journal = Journal(path, Score)
    journal.add("a", [Score("a", 1, 1.0)])
    with path.open("a", encoding="utf-8") as file:
        file.write("b,2,0.5\nb,")
    with path.with_suffix(".done").open("a", encoding="utf-8") as file:
        file.write('"b')
    again = Journal(path, Score)
    assert again.finished == {"a"}
    again.add("b", [Score("b", 7, 0.25)])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines == ["item,count,value", "a,1,1.0", "b,7,0.25"]


def test_a_folder_holds_the_results_of_one_set_of_options(run: Run) -> None:
    run.begin()
    run.begin()
    other = replace(run, settings={"model": "tiny"})
    with pytest.raises(EvaluationError, match="model was 'nano', now 'tiny'"):
        other.begin()


def test_the_summary_has_null_for_what_is_unknown(run: Run) -> None:
    run.begin()
    run.finish([Table("means", ("name", "value"), (("a", math.nan), ("b", 0.5)))])
    summary = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert summary == {
        "settings": {"model": "nano"},
        "means": [{"name": "a", "value": None}, {"name": "b", "value": 0.5}],
    }


def test_tables_are_written_as_csv(tmp_path: Path) -> None:
    table = Table("t", ("name", "value"), (("a, b", math.nan), ("c", 1.5)))
    write_table(tmp_path / "t.csv", table)
    text = (tmp_path / "t.csv").read_text(encoding="utf-8")
    assert text == 'name,value\n"a, b",\nc,1.5\n'


def test_the_mean_leaves_out_what_is_unknown() -> None:
    assert mean([1.0, math.nan, 0.0]) == 0.5
    assert math.isnan(mean([]))
