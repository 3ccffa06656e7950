"""Which model a set of parameters belongs to, told from a few keys and shapes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

from napari_hqsam2.weights.registry import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Mapping

Shapes: TypeAlias = "Mapping[str, tuple[int, ...]]"

PATCH_KEY = "image_encoder.trunk.patch_embed.proj.weight"
BLOCK_KEY = re.compile(r"image_encoder\.trunk\.blocks\.(\d+)\.")
HQ_KEY = "sam_mask_decoder.hf_token.weight"
SAM2_1_KEY = "no_obj_embed_spatial"
FOREIGN_KEYS = {
    "image_encoder.patch_embed.proj.weight": "a SAM 1 or HQ-SAM 1 model with a ViT",
    "image_encoder.patch_embed.seq.0.c.weight": "a MobileSAM or Light HQ-SAM model",
    "vision_encoder.backbone.patch_embed.projection.weight": (
        "a SAM 2 model in the format of Hugging Face transformers"
    ),
    "detector.backbone.vision_backbone.trunk.patch_embed.proj.weight": "a SAM 3 model",
}
"""A key that only models of another family have."""


def describe_variant(shapes: Shapes) -> str | None:
    """Say in words which model has parameters of these shapes.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        Shape of each parameter by its key.

    Returns
    -------
    str or None
        A name of the registry where one fits, such as "sam2.1_hq_hiera_large"; None if
        nothing in the keys is familiar.
    """
    if PATCH_KEY not in shapes:
        found = (words for key, words in FOREIGN_KEYS.items() if key in shapes)
        return next(found, None)
    matches = filter(None, map(BLOCK_KEY.match, shapes))
    trunk = (
        shapes[PATCH_KEY][0],
        1 + max((int(match[1]) for match in matches), default=-1),
    )
    is_hq = HQ_KEY in shapes
    names = [
        spec.name
        for spec in REGISTRY.values()
        if spec.trunk == trunk and spec.is_hq == is_hq
    ]
    family = "HQ-SAM 2" if is_hq else "SAM 2"
    name = names[0] if names else f"{family} with a trunk of width {trunk[0]}"
    if SAM2_1_KEY not in shapes:
        return f"{name.replace('sam2.1', 'sam2')} (release 2.0, before SAM 2.1)"
    return name
