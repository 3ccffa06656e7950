"""Candidates of several windows, and the one that they agree on."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_hqsam2.segmentation.crops import Crop
from napari_hqsam2.segmentation.guesses import Guess, most_agreed

HW = (256, 256)
GRID = 64
WHOLE = Crop(0, 0, *HW)
MIDDLE = Crop(64, 64, 128, 128)


def guess(crop, *candidates):
    """Candidates as pairs of a score and a (top, left, bottom, right) box."""
    step_y, step_x = crop.height / GRID, crop.width / GRID
    y = crop.top + (torch.arange(GRID) + 0.5) * step_y
    x = crop.left + (torch.arange(GRID) + 0.5) * step_x
    masks = [
        ((y >= top) & (y < bottom))[:, None] & ((x >= left) & (x < right))
        for _, (top, left, bottom, right) in candidates
    ]
    scores = torch.tensor([score for score, _ in candidates])
    return Guess.of(crop, scores, torch.stack(masks).float() * 20 - 10)


CELL = (100, 100, 140, 140)
NUCLEUS = (112, 112, 126, 126)
TISSUE = (40, 40, 220, 220)
NOTHING = (0, 0, 0, 0)


def test_what_several_windows_show_beats_a_higher_score():
    guesses = [
        guess(WHOLE, (0.9, TISSUE), (0.8, CELL)),
        guess(MIDDLE, (0.85, CELL), (0.6, NUCLEUS)),
    ]
    assert most_agreed(guesses, HW) == 1
    assert most_agreed(guesses[::-1], HW) == 0


def test_without_agreement_the_score_decides():
    one, other = guess(WHOLE, (0.7, TISSUE)), guess(MIDDLE, (0.9, NUCLEUS))
    assert most_agreed([one, other], HW) == 1
    assert most_agreed([one], HW) == 0


def test_what_a_window_cuts_off_is_not_chosen_and_does_not_vote():
    cut = guess(MIDDLE, (0.9, TISSUE), (0.9, TISSUE))
    tissue, cell = guess(WHOLE, (0.5, TISSUE)), guess(WHOLE, (0.6, CELL))
    assert most_agreed([cut, tissue, cell], HW) == 2
    assert most_agreed([cut, cut], HW) == 0


def test_the_border_of_the_frame_cuts_nothing_off():
    at_border = (0, 100, 40, 140)
    low = guess(Crop(0, 64, 128, 128), (0.9, at_border))
    high = guess(WHOLE, (0.6, at_border), (0.2, NUCLEUS))
    assert most_agreed([low, high], HW) == 0


def test_empty_candidates_are_compared_too():
    nothing, cell = guess(WHOLE, (0.2, NOTHING)), guess(MIDDLE, (0.9, CELL))
    assert most_agreed([nothing, cell], HW) == 1
    assert most_agreed([nothing, nothing], HW) == 0


boxes = st.tuples(*[st.integers(0, 120)] * 2, *[st.integers(121, 255)] * 2)
candidates = st.tuples(st.floats(0, 1, width=32), boxes)
places = st.sampled_from([WHOLE, MIDDLE, Crop(0, 0, 128, 128), Crop(128, 64, 64, 64)])
found = st.builds(
    lambda crop, some: guess(crop, *some),
    places,
    st.lists(candidates, min_size=1, max_size=3),
)


@given(some=st.lists(found, min_size=1, max_size=3), seed=st.randoms())
def test_the_choice_does_not_depend_on_the_order(some, seed):
    shuffled = list(some)
    seed.shuffle(shuffled)
    one, other = some[most_agreed(some, HW)], shuffled[most_agreed(shuffled, HW)]
    if one is not other:  # equally good ones
        again = [other, *(each for each in some if each is not other)]
        assert again[most_agreed(again, HW)] is other


@given(other=st.builds(guess, places, candidates))
def test_two_windows_that_show_the_same_outvote_a_third(other):
    same = [guess(WHOLE, (1.0, CELL)), guess(MIDDLE, (1.0, CELL))]
    assert most_agreed([*same, other], HW) in (0, 1) or 1.0 in other.scores
