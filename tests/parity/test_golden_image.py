"""The image predictor gives what the references gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from hydra.utils import instantiate

from napari_hqsam2.build import build_sam2, compose_config
from napari_hqsam2.predictors.image_predictor import SAM2ImagePredictor

if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any

SHAPES = json.loads(
    Path(__file__).with_name("golden").joinpath("state_dict_shapes.json").read_text()
)


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_parameters_have_the_official_names_and_shapes(name: str) -> None:
    with torch.device("meta"):
        model = instantiate(compose_config(name).model)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == {key: list(value) for key, value in SHAPES[name].items()}


@pytest.mark.parametrize("name", ["sam2.1_hiera_tiny", "sam2.1_hq_hiera_tiny"])
def test_every_prompt_of_the_image_predictor(
    name: str, scenarios: ModuleType, recorded: Any
) -> None:
    model = build_sam2(name, device="cpu")
    scenarios.load_formula_weights(model, 1)
    got = scenarios.image_scenario(SAM2ImagePredictor(model), 1, model.has_hq)
    recorded.check_image(f"image.{name}.seed1", got)


def test_formula_checkpoint_goes_through_the_builder(
    formula: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("checkpoint") / "formula.pt"
    formula.write_checkpoint(path, "sam2.1_hq_hiera_tiny", 3)
    model = build_sam2("sam2.1_hq_hiera_tiny", path, device="cpu")
    key = "sam_mask_decoder.hf_token.weight"
    expected = formula.parameter(key, (1, 256), 3)
    assert torch.equal(model.state_dict()[key], torch.from_numpy(expected))
