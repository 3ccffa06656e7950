"""Frames that the model sees little of are told, once."""

import logging

import numpy as np
import pytest

from napari_hqsam2.segmentation.oddities import oddity
from napari_hqsam2.segmentation.stack_view import StackView

RAMP = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.mark.parametrize(
    ("frame", "limits", "words"),
    [
        (RAMP, None, ""),
        (RAMP.astype(np.float32), (10, 20), ""),
        (RAMP, (100, 200), ""),
        (RAMP + 1, (700, 900), "is darker everywhere than the contrast limits 700 to"),
        (RAMP + 5, (0, 5), "contrast limits 0 to 5: the model sees it white"),
        (np.zeros((20, 30), np.uint8), (0, 255), "has the value 0 everywhere"),
        (np.full((20, 30), 7.5), None, "has the value 7.5 everywhere"),
        (np.ones((5, 6, 3), bool), None, "has the value 1 everywhere"),
        (np.full((20, 30), np.nan, np.float16), None, "holds no number"),
        (np.array([[0, np.nan], [-np.inf, 2]]), None, "at 2 places, which"),
    ],
)
def test_what_is_odd_has_words(frame, limits, words):
    found = oddity(frame, limits)
    assert words in found
    assert bool(found) == bool(words)


def test_one_bright_pixel_is_enough():
    frame = np.zeros((300, 400), np.uint16)
    frame[17, 23] = 9
    assert oddity(frame) == oddity(frame, (0, 9)) == ""


def test_the_first_odd_frame_of_a_stack_is_logged(caplog):
    stack = np.stack([RAMP, RAMP * 0, RAMP * 0])
    view = StackView(stack, "TYX")
    with caplog.at_level(logging.WARNING):
        for number in (0, 1, 2, 1):
            view.frames((0,), "T").read(number)
    (record,) = caplog.records
    assert record.message.startswith("Frame T=1 has the value 0 everywhere")
    assert view.oddities.of((2,)).startswith("has the value 0")
    assert view.oddities.of((0,)) == ""


def test_an_image_is_called_one(caplog):
    with caplog.at_level(logging.WARNING):
        StackView.of_image(RAMP * 0, "YX").frames((0,), "T").read(0)
    assert caplog.messages[0].startswith("Image has the value 0")
