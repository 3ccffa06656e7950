"""Composed labels against full-size interpolation and arg-max, and what stays."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from napari_hqsam2.ops._bilinear import axis_taps, interpolate_window
from napari_hqsam2.ops.compose_labels import (
    compose_labels,
    pixel_boxes,
    positive_boxes,
)

INTEGERS = (torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64)


def blobs(count: int, grid: tuple[int, int], rng: np.random.Generator) -> torch.Tensor:
    """Logits of round objects, (N, h, w)."""
    y, x = np.indices(grid)
    centre = rng.uniform(0, np.array(grid), (count, 2))[..., None, None]
    radius = rng.uniform(0.5, 3, count)[:, None, None]
    away = np.hypot(y - centre[:, 0], x - centre[:, 1])
    return torch.from_numpy(radius - away).float()


def enlarged(low_res: torch.Tensor, hw: tuple[int, int]) -> torch.Tensor:
    """All logits at full size, in double precision."""
    return F.interpolate(low_res.double()[:, None], size=hw, mode="bilinear")[:, 0]


def compose(
    low_res: torch.Tensor, ids: list[int], labels: torch.Tensor, **options: torch.Tensor
) -> torch.Tensor:
    boxes = positive_boxes(low_res)
    compose_labels(low_res, torch.tensor(ids), boxes, labels, **options)
    return labels


@given(
    st.integers(1, 6),
    st.tuples(*[st.integers(1, 20)] * 2),
    st.tuples(*[st.integers(1, 90)] * 2),
    st.integers(0, 2**32 - 1),
    st.sampled_from(INTEGERS),
)
def test_the_largest_logit_above_zero_wins(
    count: int,
    grid: tuple[int, int],
    hw: tuple[int, int],
    seed: int,
    dtype: torch.dtype,
) -> None:
    rng = np.random.default_rng(seed)
    low_res = blobs(count, grid, rng)
    ids = 1 + torch.from_numpy(rng.permutation(100)[:count])
    before = torch.from_numpy(rng.integers(0, 120, hw) * (rng.random(hw) < 0.5))
    labels = before.to(dtype)
    compose(low_res, ids.tolist(), labels)

    logits = enlarged(low_res, hw)
    ranked = torch.cat((logits, torch.zeros(1, *hw))).topk(2, dim=0)
    winner = torch.cat((ids, torch.zeros(1, dtype=torch.int64)))[ranked.indices[0]]
    kept = torch.where(torch.isin(before, ids), 0, before)
    expected = torch.where(kept == 0, winner, kept)
    is_clear = ranked.values[0] - ranked.values[1] > 1e-4
    differs = (labels.to(torch.int64) != expected) & (is_clear | (kept != 0))
    assert not differs.any()


@given(st.tuples(*[st.integers(1, 40)] * 2), st.tuples(*[st.integers(1, 90)] * 2))
def test_interpolation_is_that_of_torch(
    grid: tuple[int, int], hw: tuple[int, int]
) -> None:
    image = torch.randn(grid, generator=torch.Generator().manual_seed(1))
    rows, columns = (axis_taps(*sizes) for sizes in zip(grid, hw, strict=True))
    found = interpolate_window(image, rows, columns)
    torch.testing.assert_close(
        found.double(), enlarged(image[None], hw)[0], rtol=0, atol=3e-5
    )
    top, left = hw[0] // 3, hw[1] // 2
    part = interpolate_window(
        image, rows.window(top, hw[0]), columns.window(left, hw[1])
    )
    assert torch.equal(part, found[top:, left:])


@given(
    st.tuples(*[st.integers(1, 30)] * 2),
    st.tuples(*[st.integers(1, 90)] * 2),
    st.integers(0, 2**32 - 1),
)
def test_no_pixel_outside_the_pixel_box_is_positive(
    grid: tuple[int, int], hw: tuple[int, int], seed: int
) -> None:
    low_res = blobs(3, grid, np.random.default_rng(seed))
    boxes = pixel_boxes(positive_boxes(low_res), grid, hw)
    for logits, (top, left, bottom, right) in zip(
        enlarged(low_res, hw), boxes.tolist(), strict=True
    ):
        outside = logits > 0
        outside[top:bottom, left:right] = False
        assert not outside.any()


def test_pixel_boxes_follow_the_objects() -> None:
    boxes = torch.tensor([[3, 4, 5, 8], [0, 0, 10, 20], [5, 5, 5, 9], [-4, 18, 2, 99]])
    found = pixel_boxes(boxes, (10, 20), (40, 160))
    # half a cell and a pixel more on each side
    assert found[0].tolist() == [9, 27, 23, 69]
    assert found[1].tolist() == [0, 0, 40, 160]
    assert found[2].tolist() == [0, 0, 0, 0]
    assert found[3].tolist() == [0, 139, 11, 160]


def test_boxes_are_tight() -> None:
    low_res = torch.full((3, 6, 9), -1.0)
    low_res[0, 2:4, 5] = 1.0
    low_res[1] = 2.0
    assert positive_boxes(low_res).tolist() == [
        [2, 5, 4, 6],
        [0, 0, 6, 9],
        [0, 0, 0, 0],
    ]
    assert positive_boxes(low_res).dtype == torch.int32
    assert positive_boxes(low_res[:0]).shape == (0, 4)


def test_of_equal_logits_the_lower_id_wins() -> None:
    low_res = torch.ones(3, 4, 4)
    labels = compose(low_res, [7, 3, 5], torch.zeros(8, 8, dtype=torch.int32))
    assert (labels == 3).all()


def test_old_pixels_go_and_others_stay() -> None:
    low_res = torch.full((1, 4, 4), -1.0)
    low_res[0, :2] = 1.0
    labels = torch.zeros(8, 8, dtype=torch.uint16)
    labels[7] = 5
    labels[0, 4:] = 9
    compose(low_res, [5], labels)
    assert labels[7].tolist() == [0] * 8
    assert labels[0].tolist() == [5] * 4 + [9] * 4
    labels = labels.to(torch.int32)
    # only in its old box an object is looked for
    labels[6, 6] = labels[5, 5] = 5
    compose(low_res, [5], labels, old_boxes=torch.tensor([[6, 6, 8, 8]]))
    assert labels[6, 6] == 0
    assert labels[5, 5] == 5


def test_objects_without_pixels_leave_nothing() -> None:
    labels = torch.full((8, 8), 2, dtype=torch.int32)
    compose(torch.full((2, 4, 4), -1.0), [1, 2], labels)
    assert not labels.any()
    compose(torch.zeros(0, 4, 4), [], labels.fill_(3))
    assert (labels == 3).all()


def test_labels_may_be_a_part_of_a_stack() -> None:
    stack = torch.zeros(3, 20, 20, dtype=torch.int32)
    compose(torch.ones(1, 4, 4), [6], stack[1, ::2, 3:13])
    assert (stack[1, ::2, 3:13] == 6).all()
    assert stack.count_nonzero() == 100


def test_memory_follows_the_boxes() -> None:
    rng = np.random.default_rng(0)
    low_res = torch.full((40, 256, 256), -1.0)
    corners = rng.integers(0, 250, (40, 2))
    for logits, (y, x) in zip(low_res, corners, strict=True):
        logits[y : y + 5, x : x + 5] = 1.0
    labels = torch.zeros(8192, 8192, dtype=torch.int32)
    boxes = positive_boxes(low_res)
    with torch.profiler.profile(profile_memory=True) as profile:
        for index in range(40):
            one = slice(index, index + 1)
            old = pixel_boxes(boxes[one], (256, 256), (8192, 8192))
            ids = torch.tensor([index + 1])
            compose_labels(low_res[one], ids, boxes[one], labels, old_boxes=old)
    assert max(event.cpu_memory_usage for event in profile.events()) < 2**20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"low_res": torch.ones(2, 4)}, r"Expected \(N, h, w\) logits"),
        ({"low_res": torch.ones(2, 4, 4).int()}, r"Expected \(N, h, w\) logits"),
        ({"low_res": torch.ones(2, 0, 4)}, r"Expected \(N, h, w\) logits"),
        ({"labels": torch.zeros(8, 8)}, r"Expected \(H, W\) integers"),
        ({"ids": torch.tensor([1])}, "2 objects need 2 ids"),
        ({"boxes": torch.zeros(2, 3)}, "2 objects need 2 ids"),
        ({"ids": torch.tensor([0, 1])}, "from 1 to 255"),
        ({"ids": torch.tensor([256, 1])}, "from 1 to 255"),
        ({"old_boxes": torch.zeros(1, 4)}, r"need \(2, 4\) old boxes"),
        ({"labels": torch.zeros(8, 8, dtype=torch.int, device="meta")}, "on meta"),
    ],
)
def test_what_does_not_fit_is_refused(
    change: dict[str, torch.Tensor], message: str
) -> None:
    arguments = {
        "low_res": torch.ones(2, 4, 4),
        "ids": torch.tensor([1, 2]),
        "boxes": torch.zeros(2, 4, dtype=torch.int32),
        "labels": torch.zeros(8, 8, dtype=torch.uint8),
        **change,
    }
    with pytest.raises(ValueError, match=message):
        compose_labels(**arguments)
