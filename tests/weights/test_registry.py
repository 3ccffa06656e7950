from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.weights import registry
from napari_hqsam2.weights.cache import file_sha256
from napari_hqsam2.weights.download import cached_path, ensure_checkpoint
from napari_hqsam2.weights.variants import describe_variant

if TYPE_CHECKING:
    from pathlib import Path


def shapes_of(width: int, depth: int, *extra: str) -> dict[str, tuple[int, ...]]:
    blocks = {f"image_encoder.trunk.blocks.{block}.a": (1,) for block in range(depth)}
    patch = {"image_encoder.trunk.patch_embed.proj.weight": (width, 3, 7, 7)}
    return {**blocks, **patch, **dict.fromkeys(extra, (1, 4))}


def test_every_size_has_a_plain_and_a_high_quality_model() -> None:
    sizes = {"tiny", "small", "base_plus", "large"}
    names = {f"sam2.1_{hq}hiera_{size}" for hq in ("", "hq_") for size in sizes}
    assert set(registry.REGISTRY) == {registry.DEFAULT_MODEL, *names}
    assert registry.DEFAULT_MODEL == "sam2.1_hq_hiera_nano"
    for name, spec in registry.REGISTRY.items():
        assert spec.name == spec.config == name
        assert spec.is_hq == ("hq" in name)
        assert spec.licence == "Apache-2.0"


def test_what_is_published_can_be_verified() -> None:
    published = [spec for spec in registry.REGISTRY.values() if spec.url]
    assert len(published) == 5
    hashes = [spec.sha256 for spec in published if spec.sha256]
    assert len(set(hashes)) == 4
    for spec in published:
        assert str(spec.url).startswith("https://")
        assert str(spec.url).endswith(f"/{spec.file_name}")
        assert spec.sha256 is None or re.fullmatch("[0-9a-f]{64}", spec.sha256)
        assert (spec.sha256 is None) == (spec.size is None) == spec.is_hq


def test_the_builtin_model_is_part_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cached_path(registry.DEFAULT_MODEL)
    assert path.parts[-3:] == ("weights", "data", "sam2.1_hq_hiera_nano.safetensors")
    monkeypatch.setattr(registry, "packaged_path", lambda _: tmp_path / "nano")
    with pytest.raises(CheckpointError, match=r"built-in .*missing.*Reinstall"):
        ensure_checkpoint(registry.DEFAULT_MODEL)
    (tmp_path / "nano").write_bytes(b"x")
    assert ensure_checkpoint(registry.DEFAULT_MODEL) == tmp_path / "nano"


def test_the_builtin_model_is_the_one_that_its_card_describes() -> None:
    spec = registry.get(registry.DEFAULT_MODEL)
    path = registry.packaged_path(spec)
    assert path.stat().st_size == spec.size
    assert file_sha256(path) == spec.sha256
    card = (path.parent / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{spec.size:,} bytes" in card
    assert f"`{spec.sha256}`" in card


@pytest.mark.parametrize("size", ["tiny", "small", "base_plus"])
def test_weights_that_nobody_published_say_so(size: str) -> None:
    name = f"sam2.1_hq_hiera_{size}"
    with pytest.raises(
        CheckpointError, match=f"No weights of {name} .*sam2.1_hq_hiera_large"
    ):
        ensure_checkpoint(name)


def test_unknown_names_list_the_known_ones(cache: Path) -> None:
    for look_up in (registry.get, ensure_checkpoint, cached_path):
        with pytest.raises(CheckpointError, match=r"'sam3'.*sam2\.1_hiera_tiny"):
            look_up("sam3")
    assert cached_path("sam2.1_hiera_tiny") == cache / "sam2.1_hiera_tiny.pt"


@pytest.mark.parametrize("name", sorted(registry.REGISTRY))
def test_a_model_is_known_by_its_parameters(name: str) -> None:
    spec = registry.get(name)
    extra = ["no_obj_embed_spatial"]
    extra += ["sam_mask_decoder.hf_token.weight"] if spec.is_hq else []
    plain = {
        other.name
        for other in registry.REGISTRY.values()
        if (other.trunk, other.is_hq) == (spec.trunk, spec.is_hq)
    }
    assert plain == {name}
    assert describe_variant(shapes_of(*spec.trunk, *extra)) == name


@pytest.mark.parametrize(
    ("shapes", "expected"),
    [
        (shapes_of(96, 12), r"sam2_hiera_tiny \(release 2\.0"),
        (shapes_of(50, 3, "no_obj_embed_spatial"), "SAM 2 with a trunk of width 50"),
        ({"image_encoder.patch_embed.proj.weight": (1280, 3, 16, 16)}, "SAM 1"),
        (
            {"vision_encoder.backbone.patch_embed.projection.weight": (96, 3, 7, 7)},
            "transformers",
        ),
    ],
)
def test_relatives_are_known_too(
    shapes: dict[str, tuple[int, ...]], expected: str
) -> None:
    assert re.search(expected, str(describe_variant(shapes)))


def test_strangers_are_not_known() -> None:
    assert describe_variant({"fc.weight": (10, 512)}) is None
    assert describe_variant({}) is None
