"""Small stacks of labels, and divisions that fit them."""

from __future__ import annotations

import hypothesis.extra.numpy as npst
import numpy as np
from hypothesis import strategies as st

from napari_hqsam2.axes import StackAxes
from napari_hqsam2.lineage.content import TrackedLabels
from napari_hqsam2.lineage.divisions import make_division
from napari_hqsam2.lineage.measuring import measure


@st.composite
def tracked_labels(draw, *, sisters=1):
    """Labels of some frames with divisions into at least so many daughters."""
    letters = draw(st.sampled_from(["TYX", "TZYX"]))
    shape = (draw(st.integers(1, 6)), *([2] if "Z" in letters else []), 2, 3)
    values = st.sampled_from([0, 0, 0, 1, 2, 3, 4, 9, 300])
    labels = draw(npst.arrays(np.int32, shape, elements=values))
    spans = measure(labels, StackAxes(letters, shape)).spans()
    divisions, daughters = [], set()
    for mother in draw(st.permutations(sorted(spans))):
        after = [
            i
            for i in spans
            if spans[i].first > spans[mother].last and i not in daughters
        ]
        if len(after) >= sisters and draw(st.booleans()):
            chosen = draw(st.sets(st.sampled_from(after), min_size=sisters, max_size=3))
            daughters |= chosen
            frame = min(spans[i].first for i in chosen)
            divisions.append(make_division(mother, chosen, frame))
    return TrackedLabels(
        labels=labels, axes=letters, divisions=tuple(sorted(divisions))
    )
