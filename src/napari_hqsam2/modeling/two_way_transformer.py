"""Two-way transformer between prompts and image, as in SAM (arXiv 2304.02643)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from torch import nn

from napari_hqsam2.modeling.attention import Attention
from napari_hqsam2.modeling.casting import lowered, lowered_sum
from napari_hqsam2.modeling.layers import MLP

if TYPE_CHECKING:
    from torch import Tensor


class TwoWayBlock(nn.Module):
    """Tokens attend to each other and to the image, then the image to the tokens."""

    def __init__(
        self, channels: int, num_heads: int, mlp_dim: int, *, is_first: bool
    ) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(channels, num_heads)
        self.norm1 = nn.LayerNorm(channels)
        self.cross_attn_token_to_image = Attention(
            channels, num_heads, downsample_rate=2
        )
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = MLP((channels, mlp_dim, channels))
        self.norm3 = nn.LayerNorm(channels)
        self.norm4 = nn.LayerNorm(channels)
        self.cross_attn_image_to_token = Attention(
            channels, num_heads, downsample_rate=2
        )

    def update_tokens(
        self, tokens: Tensor, token_pe: Tensor, image: Tensor, placed: Tensor
    ) -> Tensor:
        """Update (N, L, C) tokens; arguments as of `update_image`."""
        values = lowered(tokens)
        if self.is_first:
            tokens = self.self_attn(values, values, values)
        else:
            q = lowered_sum(tokens, token_pe)
            tokens = tokens + self.self_attn(q, q, values)
        tokens = self.norm1(tokens)
        q = lowered_sum(tokens, token_pe)
        attended = self.cross_attn_token_to_image(q, placed, image)
        tokens = self.norm2(tokens + attended)
        return self.norm3(tokens + self.mlp(tokens))

    def update_image(
        self, tokens: Tensor, token_pe: Tensor, image: Tensor, placed: Tensor
    ) -> Tensor:
        """Update image features.

        Parameters
        ----------
        tokens, token_pe : Tensor
            (N, L, C) tokens and their position encoding.
        image, placed : Tensor
            (N or 1, h * w, C) features, and the `lowered` sum of these and their
            position encoding.

        Returns
        -------
        Tensor
            (N, h * w, C).
        """
        k = lowered_sum(tokens, token_pe)
        attended = self.cross_attn_image_to_token(placed, k, tokens)
        return self.norm4(image + attended)


@dataclass(frozen=True)
class Looked:
    """Tokens that the first layer has updated, before it updates the image."""

    tokens: Tensor
    """(N, L, C)."""
    token_pe: Tensor
    """(N, L, C) position encoding of the tokens: the tokens at the start."""
    image: Tensor
    """(N, h * w, C) features, or (1, h * w, C) while all prompts share them."""
    image_pe: Tensor
    """(N or 1, h * w, C) position encoding."""
    placed: Tensor
    """(N or 1, h * w, C) `lowered` sum of the two."""

    def __getitem__(self, rows: slice) -> Looked:
        """Some prompts."""
        parts = (self.image, self.image_pe, self.placed)
        image = (rows_of(part, rows) for part in parts)
        return Looked(self.tokens[rows], self.token_pe[rows], *image)


def rows_of(tensor: Tensor, rows: slice) -> Tensor:
    """Rows of (N, ...), or all of (1, ...) that all prompts share."""
    return tensor if tensor.shape[0] == 1 else tensor[rows]


class TwoWayTransformer(nn.Module):
    """A stack of `TwoWayBlock`; upstream ``TwoWayTransformer``.

    An image that all prompts share is worked on once, up to the point where prompts
    begin to change it: `look`, then `finish`.
    """

    def __init__(
        self, channels: int, num_heads: int = 8, mlp_dim: int = 2048, depth: int = 2
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            TwoWayBlock(channels, num_heads, mlp_dim, is_first=index == 0)
            for index in range(depth)
        )
        self.final_attn_token_to_image = Attention(
            channels, num_heads, downsample_rate=2
        )
        self.norm_final_attn = nn.LayerNorm(channels)

    def look(self, image: Tensor, image_pe: Tensor, tokens: Tensor) -> Looked:
        """Let tokens look at the image once.

        Parameters
        ----------
        image : Tensor
            (N, C, h, w) features, or (1, C, h, w) shared by all prompts.
        image_pe : Tensor
            (N or 1, C, h, w) position encoding.
        tokens : Tensor
            (N, L, C); also their own position encoding.
        """
        first = cast("TwoWayBlock", self.layers[0])
        features = image.flatten(2).transpose(1, 2)
        features_pe = image_pe.flatten(2).transpose(1, 2)
        placed = lowered_sum(features, features_pe)
        looked = first.update_tokens(tokens, tokens, features, placed)
        return Looked(looked, tokens, features, features_pe, placed)

    def finish(self, looked: Looked) -> tuple[Tensor, Tensor]:
        """Go on after the first look.

        Returns
        -------
        tuple of Tensor
            Tokens (N, L, C) and image features (N, h * w, C).
        """
        tokens, token_pe, image_pe = looked.tokens, looked.token_pe, looked.image_pe
        first, *others = cast("list[TwoWayBlock]", list(self.layers))
        image = first.update_image(tokens, token_pe, looked.image, looked.placed)
        for layer in others:
            placed = lowered_sum(image, image_pe)
            tokens = layer.update_tokens(tokens, token_pe, image, placed)
            image = layer.update_image(tokens, token_pe, image, placed)
        attended = self.final_attn_token_to_image(
            lowered_sum(tokens, token_pe), lowered_sum(image, image_pe), image
        )
        return self.norm_final_attn(tokens + attended), image

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """`look` and `finish`."""
        return self.finish(self.look(image, image_pe, tokens))
