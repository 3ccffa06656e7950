"""Errors as the widget tells them."""

from __future__ import annotations

from napari_hqsam2.errors import PromptError
from napari_hqsam2.plugin.error_words import error_words


def test_what_says_it_all_is_told_as_it_is(caplog):
    for error in (PromptError("Add a point."), OSError(28, "No space left")):
        assert error_words(error) == str(error)
    assert not caplog.records


def test_what_nobody_has_foreseen_has_its_type_and_is_in_the_log(caplog):
    assert error_words(KeyError("axes")) == "It failed with KeyError: 'axes'"
    (record,) = caplog.records
    assert record.exc_info[0] is KeyError


def test_a_lack_of_memory_says_what_to_do(caplog):
    assert "not enough memory" in error_words(MemoryError())
    assert caplog.records
