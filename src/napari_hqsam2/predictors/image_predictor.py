"""Masks of one image at a time, with SAM 2's verbs; upstream ``SAM2ImagePredictor``."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from napari_hqsam2.errors import PromptError
from napari_hqsam2.modeling.outputs import HqMode, ImageFeatures, ModelPrompts
from napari_hqsam2.predictors.frame_source import open_frames
from napari_hqsam2.predictors.intensity import estimate_limits, to_unit_rgb
from napari_hqsam2.predictors.postprocess import fill_holes, remove_islands
from napari_hqsam2.predictors.precision import inference
from napari_hqsam2.predictors.prompt_inputs import host_tensor, merged_points
from napari_hqsam2.predictors.transforms import to_coords_norm, to_model_image

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from PIL.Image import Image
    from torch import Tensor

    from napari_hqsam2._types import HW, AnyArray
    from napari_hqsam2.modeling.hqsam2 import HqSam2
    from napari_hqsam2.modeling.outputs import MaskPrediction
    from napari_hqsam2.predictors.intensity import IntensityLimits

PREVIOUS_LOGIT_LIMIT = 32.0
"""Low-resolution logits are clamped to this size before they may be fed back."""
FILLED_LOGIT = 10.0
"""Upstream's logit of filled holes in images."""
HOST_VALUES, DEVICE_VALUES = 2**22, 2**26
"""At most about so many logits exist at image size at once, on a CPU and elsewhere."""


class SAM2ImagePredictor:
    """Encode an image once, then predict masks for any number of prompts.

    Parameters
    ----------
    sam_model : HqSam2
        From `build_sam2` or `load_model(...).model`.
    mask_threshold : float
        Logit above which a pixel belongs to the mask.
    max_hole_area, max_sprinkle_area : int
        Holes and specks of at most this many pixels of the low-resolution mask are
        filled and removed; 0 leaves them.
    hq : {"add", "only", "off"}
        Use of the high-quality mask: added to SAM's (default, used for all published
        figures), alone, or not at all. Models without it ignore this.
    """

    def __init__(
        self,
        sam_model: HqSam2,
        mask_threshold: float = 0.0,
        max_hole_area: int = 0,
        max_sprinkle_area: int = 0,
        hq: HqMode = "add",
    ) -> None:
        self.model = sam_model
        self.mask_threshold = mask_threshold
        self.max_hole_area = max_hole_area
        self.max_sprinkle_area = max_sprinkle_area
        self.hq: HqMode = hq
        self.reset_predictor()

    @property
    def device(self) -> torch.device:
        """Device that the model computes on."""
        return self.model.device

    def reset_predictor(self) -> None:
        """Forget the image."""
        self._features: ImageFeatures | None = None
        self._sizes: list[HW] = []

    def set_image(
        self, image: AnyArray | Image, *, contrast_limits: IntensityLimits | None = None
    ) -> None:
        """Encode one image.

        Parameters
        ----------
        image : ndarray or PIL image
            (H, W), (H, W, 3) or (H, W, 4), of any real dtype.
        contrast_limits : tuple, optional
            Intensities shown as black and white, or one pair a channel. Without it
            uint8 uses 0 to 255, and everything else the 0.1 and 99.9 percentiles.

        Raises
        ------
        StackError
            If the array is not a real image of that shape.
        """
        self.set_image_batch([image], contrast_limits=contrast_limits)

    def set_image_batch(
        self,
        image_list: Sequence[AnyArray | Image],
        *,
        contrast_limits: IntensityLimits | None = None,
    ) -> None:
        """Encode images of any sizes for `predict_batch`; arguments of `set_image`."""
        self.reset_predictor()
        sources = [open_frames([np.asarray(image)]) for image in image_list]
        batch = [
            to_model_image(
                to_unit_rgb(source.read(0), contrast_limits or estimate_limits(source)),
                self.model.image_size,
                self.device,
                "bilinear",
            )
            for source in sources
        ]
        with inference(self.device):
            self._features = self.model.encode_image(torch.cat(batch))
        self._sizes = [source.hw for source in sources]

    def get_image_embedding(self) -> Tensor:
        """(B, C, h, w) embedding that the decoder reads."""
        with inference(self.device):
            return self.model.without_memory(self._require_features().embedding)

    def predict(
        self,
        point_coords: npt.ArrayLike | None = None,
        point_labels: npt.ArrayLike | None = None,
        box: npt.ArrayLike | None = None,
        mask_input: npt.ArrayLike | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        *,
        hq_token_only: bool = False,
    ) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Predict masks of the image that was set.

        Parameters
        ----------
        point_coords : array_like, optional
            (P, 2) points (x, y) in pixels of the image, or (N, P, 2) for N objects.
        point_labels : array_like, optional
            (P,) or (N, P): 1 positive, 0 negative.
        box : array_like, optional
            (4,) or (N, 4) boxes (x0, y0, x1, y1) in pixels.
        mask_input : array_like, optional
            (1, h, w) or (N, 1, h, w) logits that an earlier call returned.
        multimask_output : bool
            Three candidates, best for a single ambiguous click.
        return_logits : bool
            Return logits instead of booleans.
        normalize_coords : bool
            Coordinates are in pixels; if False, already divided by width and height.
        hq_token_only : bool
            Use the high-quality mask alone, for images of a single object.

        Returns
        -------
        masks : ndarray
            (M, H, W) boolean, or float32 with `return_logits`; (N, M, H, W) for N > 1
            objects.
        scores : ndarray
            (M,) or (N, M) float32, predicted IoU.
        low_res : ndarray
            (M, h, w) or (N, M, h, w) float32 logits at a quarter of the model's input,
            clamped to +-32, to be fed back as `mask_input`.

        Raises
        ------
        RuntimeError
            If no image was set.
        PromptError
            If prompts do not fit together.
        """
        points = merged_points(point_coords, point_labels, box)
        prompts = self._to_model_prompts(points, mask_input, normalize=normalize_coords)
        prediction = self._decode(
            prompts,
            multimask=multimask_output,
            hq="only" if hq_token_only else self.hq,
        )
        low_res = prediction.masks.float()
        limit = PREVIOUS_LOGIT_LIMIT
        return (
            _to_numpy(self._enlarge(self._corrected(low_res), logits=return_logits)),
            _to_numpy(prediction.iou_scores.float()),
            _to_numpy(low_res.clamp(-limit, limit)),
        )

    def predict_batch(
        self,
        point_coords_batch: Sequence[npt.ArrayLike] | None = None,
        point_labels_batch: Sequence[npt.ArrayLike] | None = None,
        box_batch: Sequence[npt.ArrayLike] | None = None,
        mask_input_batch: Sequence[npt.ArrayLike] | None = None,
        multimask_output: bool = True,
        return_logits: bool = False,
        normalize_coords: bool = True,
        *,
        hq_token_only: bool = False,
    ) -> tuple[list[AnyArray], list[AnyArray], list[AnyArray]]:
        """`predict` for the images of `set_image_batch`; arguments are lists."""
        features = self._require_features()
        sizes = self._sizes
        results = []
        try:
            for index in range(len(sizes)):
                self._features, self._sizes = features[index], [sizes[index]]
                results.append(
                    self.predict(
                        _pick(point_coords_batch, index),
                        _pick(point_labels_batch, index),
                        _pick(box_batch, index),
                        _pick(mask_input_batch, index),
                        multimask_output,
                        return_logits,
                        normalize_coords,
                        hq_token_only=hq_token_only,
                    )
                )
        finally:
            self._features, self._sizes = features, sizes
        masks, scores, low_res = zip(*results, strict=True)
        return list(masks), list(scores), list(low_res)

    def _require_features(self) -> ImageFeatures:
        if self._features is None:
            msg = "No image yet; call set_image(...) before predict(...)."
            raise RuntimeError(msg)
        return self._features

    def _decode(
        self, prompts: ModelPrompts, *, multimask: bool, hq: HqMode
    ) -> MaskPrediction:
        features = self._require_features()[len(self._sizes) - 1]
        with inference(self.device):
            prediction = self.model.predict_masks(
                self.model.without_memory(features.embedding),
                features.high_res,
                prompts,
                multimask=multimask,
                hq=hq,
            )
            masks = self.model.refine_masks(
                prediction.masks, features.picture, prompts, hq
            )
            return replace(prediction, masks=masks)

    def _corrected(self, logits: Tensor) -> Tensor:
        """(N, M, h, w) logits without small holes and specks."""
        with inference(self.device):
            logits = fill_holes(logits, self.max_hole_area, FILLED_LOGIT)
            return remove_islands(logits, self.max_sprinkle_area, -FILLED_LOGIT)

    def _enlarge(self, low_res: Tensor, *, logits: bool) -> Tensor:
        """(N, M, h, w) logits at image size, on the host: (N, M, H, W).

        Masks leave the device as booleans, a few at a time, so that the logits of all
        of them never exist at image size unless they are asked for.
        """
        height, width = self._sizes[-1]
        dtype = torch.float32 if logits else torch.bool
        out = torch.empty((*low_res.shape[:2], height, width), dtype=dtype)
        most = HOST_VALUES if self.device.type == "cpu" else DEVICE_VALUES
        count = max(most // (height * width), 1)
        planes = zip(
            low_res.flatten(0, 1).split(count),
            out.flatten(0, 1).split(count),
            strict=True,
        )
        with inference(self.device):
            for small, place in planes:
                large = F.interpolate(
                    small[:, None], size=(height, width), mode="bilinear"
                )[:, 0]
                place.copy_(large if logits else large > self.mask_threshold)
        return out

    def _to_model_prompts(
        self,
        points: tuple[Tensor, Tensor] | None,
        mask_input: npt.ArrayLike | Tensor | None,
        *,
        normalize: bool,
    ) -> ModelPrompts:
        self._require_features()
        masks = None if mask_input is None else self._mask_prompts(mask_input)
        if points is None:
            return ModelPrompts(masks=masks)
        coords, labels = points
        size = self.model.image_size
        coords = to_coords_norm(coords, self._sizes[-1], size, normalize=normalize)
        return ModelPrompts(coords.to(self.device), labels.to(self.device), masks)

    def _mask_prompts(self, mask_input: npt.ArrayLike | Tensor) -> Tensor:
        masks = host_tensor(mask_input, torch.float32)
        side = self.model.image_size // 4
        if masks.ndim not in (2, 3, 4) or masks.shape[-2:] != (side, side):
            msg = (
                f"mask_input holds logits of {side} x {side} that an earlier predict "
                f"returned, (1, {side}, {side}) for one object; got shape "
                f"{tuple(masks.shape)}."
            )
            raise PromptError(msg)
        return masks.reshape(-1, 1, side, side).to(self.device)


def _to_numpy(tensor: Tensor) -> AnyArray:
    """(N, ...) as an array, without the first axis if N is 1."""
    array: AnyArray = tensor.cpu().numpy()
    return array[0] if len(array) == 1 else array


def _pick(values: Sequence[npt.ArrayLike] | None, index: int) -> npt.ArrayLike | None:
    return None if values is None else values[index]
