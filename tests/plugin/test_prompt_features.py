import math

import numpy as np
import pandas as pd
import pytest

from napari_hqsam2.errors import PromptError
from napari_hqsam2.plugin.prompt_features import read_object_ids, read_polarity


@pytest.mark.parametrize("column", ["label", "polarity"])
def test_polarity_is_read_from_either_column(column):
    features = pd.DataFrame({column: ["positive", "Negative", "neg", "+", 0, 1]})
    expected = [True, False, False, True, False, True]
    assert read_polarity(features, 6, "p").tolist() == expected


def test_label_wins_over_polarity():
    features = {"label": ["negative"], "polarity": ["positive"]}
    assert read_polarity(features, 1, "p").tolist() == [False]


def test_missing_polarity_is_positive():
    assert read_polarity({}, 2, "p").tolist() == [True, True]
    features = pd.DataFrame({"label": pd.Categorical(["negative", None])})
    assert read_polarity(features, 2, "p").tolist() == [False, True]


def test_booleans_are_polarities():
    assert read_polarity({"label": np.array([True, False])}, 2, "p").tolist() == [
        True,
        False,
    ]


def test_unknown_polarity_names_layer_and_value():
    with pytest.raises(PromptError, match=r"'clicks' has \['maybe'\]"):
        read_polarity({"label": ["maybe"]}, 1, "clicks")


def test_object_ids_of_many_types():
    features = {"object_id": [1, 2.0, "3", np.int64(4), math.nan, None]}
    assert read_object_ids(features, 6, "p") == (1, 2, 3, 4, 0, 0)
    assert read_object_ids({}, 2, "p") == (0, 0)


@pytest.mark.parametrize("value", [0, -1, 1.5, "one", math.inf])
def test_bad_object_ids_are_refused(value):
    with pytest.raises(PromptError, match="whole number of 1 or more"):
        read_object_ids({"object_id": [value]}, 1, "p")
