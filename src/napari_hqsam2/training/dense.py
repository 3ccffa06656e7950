"""Dense targets beside the prompts: they teach the image encoder what objects are.

Prompts reach the image encoder only through the decoder, and while masks are still
blobs around clicks they teach it little. Foreground, outlines and the way to each
object's centre are known for every pixel, so a linear head on the encoder's outputs
learns them as well; it is thrown away after training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from napari_hqsam2.modeling.outputs import ImageFeatures

STRIDE = 4
CHANNELS = 4
"""Foreground, outline, and the vector (y, x) to the centre."""
LONGEST = 2.0
"""Components of these vectors end here, in that unit."""
REACH = 16.0
"""Pixels that count as 1 in vectors to the centre."""


def dense_target(labels: Tensor, top: int) -> Tensor:
    """Dense target of some crops.

    Parameters
    ----------
    labels : Tensor
        (B, S, S) integers from 0 to `top`.
    top : int
        No label is larger.

    Returns
    -------
    Tensor
        (B, 4, S / 4, S / 4) float32: share of foreground, share of pixels whose right
        or lower neighbour has another label, and for every cell the vector from its
        middle to that of the cells of its label, in units of `REACH`.
    """
    outline = torch.zeros_like(labels, dtype=torch.bool)
    outline[:, :, :-1] |= labels[:, :, :-1] != labels[:, :, 1:]
    outline[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    shares = F.avg_pool2d(torch.stack([labels > 0, outline], dim=1).float(), STRIDE)
    cells = labels[:, STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].long()
    crop = torch.arange(len(cells), device=cells.device)[:, None, None]
    index = (crop * (top + 1) + cells).flatten()
    along = torch.arange(cells.shape[-1], device=cells.device)
    vectors = []
    for axis in (along[:, None], along):
        place = axis.expand_as(cells)
        # whole numbers, so that the order of the additions does not matter
        sums = index.new_zeros(2, len(cells) * (top + 1))
        sums[0].scatter_add_(0, index, place.flatten())
        sums[1].scatter_add_(0, index, torch.ones_like(index))
        middle = (sums[0] / sums[1])[index].view_as(place)
        vectors.append((middle - place) * (STRIDE / REACH))
    away = torch.stack(vectors, dim=1).clamp(-LONGEST, LONGEST) * (cells > 0)[:, None]
    return torch.cat((shares, away), dim=1)


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
