"""Dense targets beside the prompts: they teach the image encoder what objects are.

Prompts reach the image encoder only through the decoder, and while masks are still
blobs around clicks they teach it little. Foreground, outlines and the way to each
object's centre are known for every pixel, so a linear head on the encoder's outputs
learns them as well; it is thrown away after training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_hqsam2._types import LabelArray
    from napari_hqsam2.modeling.outputs import ImageFeatures

STRIDE = 4
CHANNELS = 4
"""Foreground, outline, and the vector (y, x) to the centre."""
LONGEST = 2.0
"""Components of these vectors end here, in that unit."""
REACH = 16.0
"""Pixels that count as 1 in vectors to the centre."""


def dense_target(labels: LabelArray) -> Tensor:
    """Dense target of one crop.

    Parameters
    ----------
    labels : ndarray
        (S, S) integers, small enough to count.

    Returns
    -------
    Tensor
        (4, S / 4, S / 4) float32: share of foreground, share of pixels whose right or
        lower neighbour has another label, vector to the centroid in units of `REACH`.
    """
    outline = np.zeros(labels.shape, dtype=bool)
    outline[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    outline[:-1] |= labels[:-1] != labels[1:]
    shares = torch.from_numpy(np.stack([labels > 0, outline]).astype(np.float32))
    shares = F.avg_pool2d(shares[None], STRIDE)[0]
    cells = labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
    count = np.bincount(labels.ravel()).clip(min=1)
    place: LabelArray = np.indices(labels.shape)
    vectors = []
    for axis in place:
        sums = np.bincount(labels.ravel(), weights=axis.ravel())
        at = axis[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
        vectors.append(((sums / count)[cells] - at) / REACH)
    away = np.stack(vectors).clip(-LONGEST, LONGEST) * (cells > 0)
    offset = torch.from_numpy(away.astype(np.float32))
    return torch.cat((shares, offset))


class DenseHead(nn.Module):
    """Linear read-out of the dense target, from the embedding and from all levels.

    Parameters
    ----------
    channels : int
        C of the image embedding.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(channels, CHANNELS * 16, kernel_size=1)
        self.middle = nn.Conv2d(channels // 4, CHANNELS * 4, kernel_size=1)
        self.fine = nn.Conv2d(channels // 8, CHANNELS, kernel_size=1)

    def forward(self, features: ImageFeatures) -> tuple[Tensor, Tensor]:
        """(B, 4, 4h, 4w) predictions from the embedding, and from all levels."""
        s0, s1 = features.high_res
        coarse = F.pixel_shuffle(self.coarse(features.embedding), 4)
        full = coarse + F.pixel_shuffle(self.middle(s1), 2) + self.fine(s0)
        return coarse.float(), full.float()


def dense_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of foreground and outline, and error of vectors on the foreground.

    Parameters
    ----------
    predicted, target : Tensor
        (B, 4, h, w).
    """
    shares = F.binary_cross_entropy_with_logits(predicted[:, :2], target[:, :2])
    inside = (target[:, :1] > 0.5).float()
    away = F.smooth_l1_loss(predicted[:, 2:], target[:, 2:], reduction="none", beta=0.5)
    vectors = (away.sum(1, keepdim=True) * inside).sum() / inside.sum().clamp(min=1)
    return shares + 0.3 * vectors
