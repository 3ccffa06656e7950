"""Attention on a CPU whose values have fewer channels than its keys.

PyTorch's fast attention wants values as wide as keys, so that memories had to be
projected to four times their channels before they were mixed. Mixed first and projected
afterwards they give the same, since the shares of a query sum to one, for less
arithmetic: matrix products of pieces small enough for a cache, with the running maximum
and sum of arXiv 2205.14135.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

ROWS = 256
"""Queries at a time: the fewest at which matrix products run at full speed."""
KEYS = 1024
"""Keys at a time, so that the scores of a piece are 1 MB in single precision."""
FARTHEST = -60.0
"""Scores farther below a query's best one count as this far. The exponential of it adds
nothing to a sum that is at least one. Smaller shares would be subnormal numbers, with
which a CPU computes ten times as slowly."""


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
    mixed = values.new_zeros(count, length, values.shape[2])
    rows, columns = min(ROWS, length), min(KEYS, keys.shape[1])
    buffer = values.new_empty(rows * columns)
    for query, key, value, out in zip(queries, keys, values, mixed, strict=True):
        for start in range(0, length, rows):
            piece = slice(start, start + rows)
            _mix(query[piece], key, value, buffer, out[piece])
    return mixed


def _mix(
    query: Tensor, keys: Tensor, values: Tensor, buffer: Tensor, out: Tensor
) -> None:
    """Mix (K, M) values for (R, D) queries into (R, M) zeros."""
    best = query.new_full((len(query), 1), -torch.inf)
    total = torch.zeros_like(best)
    for key, value in zip(keys.split(KEYS), values.split(KEYS), strict=True):
        scores = buffer[: len(query) * len(key)].view(len(query), len(key))
        torch.mm(query, key.T, out=scores)
        before, best = best, torch.maximum(best, scores.amax(dim=1, keepdim=True))
        kept = (before - best).clamp_(min=FARTHEST).exp_()
        shares = scores.sub_(best).clamp_(min=FARTHEST).exp_()
        total.mul_(kept).add_(shares.sum(dim=1, keepdim=True))
        out.mul_(kept).addmm_(shares, value)
    out.div_(total)
