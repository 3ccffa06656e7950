"""Two-way transformer between prompts and image, as in SAM (arXiv 2304.02643)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from napari_hqsam2.modeling.attention import Attention
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

    def forward(
        self, tokens: Tensor, image: Tensor, token_pe: Tensor, image_pe: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Update (N, L, C) tokens and (N, h * w, C) image features."""
        if self.is_first:
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            q = tokens + token_pe
            tokens = tokens + self.self_attn(q, q, tokens)
        tokens = self.norm1(tokens)
        attended = self.cross_attn_token_to_image(
            tokens + token_pe, image + image_pe, image
        )
        tokens = self.norm2(tokens + attended)
        tokens = self.norm3(tokens + self.mlp(tokens))
        attended = self.cross_attn_image_to_token(
            image + image_pe, tokens + token_pe, tokens
        )
        return tokens, self.norm4(image + attended)


class TwoWayTransformer(nn.Module):
    """A stack of `TwoWayBlock`; upstream ``TwoWayTransformer``."""

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

    def forward(
        self, image: Tensor, image_pe: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Run tokens against an image.

        Parameters
        ----------
        image : Tensor
            (N, C, h, w) features.
        image_pe : Tensor
            (1, C, h, w) position encoding.
        tokens : Tensor
            (N, L, C); also their own position encoding.

        Returns
        -------
        tuple of Tensor
            Tokens (N, L, C) and image features (N, h * w, C).
        """
        features = image.flatten(2).transpose(1, 2)
        features_pe = image_pe.flatten(2).transpose(1, 2)
        token_pe = tokens
        for layer in self.layers:
            tokens, features = layer(tokens, features, token_pe, features_pe)
        attended = self.final_attn_token_to_image(
            tokens + token_pe, features + features_pe, features
        )
        return self.norm_final_attn(tokens + attended), features
