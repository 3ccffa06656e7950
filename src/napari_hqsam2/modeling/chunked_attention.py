"""Attention on a CPU whose values have fewer channels than its keys.

PyTorch's fast attention wants values as wide as keys, so that memories had to be
projected to four times their channels before they were mixed. Mixed first and projected
afterwards they give the same, since the shares of a query sum to one, for less
arithmetic: matrix products into one buffer that stays small enough for a cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 256
"""Queries at a time: the fewest at which matrix products run at full speed."""


def attend_in_chunks(queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Mix values by scaled dot-product attention; keeps no gradients.

    Parameters
    ----------
    queries : Tensor
        (N, L, D), or (1, L, D) for all of N.
    keys : Tensor
        (N, K, D).
    values : Tensor
        (N, K, M) of the same dtype; M is best well below D.

    Returns
    -------
    Tensor
        (N, L, M).
    """
    count, length, depth = len(keys), queries.shape[1], queries.shape[2]
    queries = (queries * depth**-0.5).expand(count, -1, -1)
    mixed = values.new_empty(count, length, values.shape[2])
    rows = min(ROWS, length)
    scores = values.new_empty(rows, keys.shape[1])
    for query, key, value, out in zip(queries, keys, values, mixed, strict=True):
        for start in range(0, length, rows):
            chunk = query[start : start + rows]
            shares = scores[: len(chunk)]
            torch.mm(chunk, key.T, out=shares)
            torch.softmax(shares, dim=-1, out=shares)
            torch.mm(shares, value, out=out[start : start + rows])
    return mixed
