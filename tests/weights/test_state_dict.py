from __future__ import annotations

import json
import logging
import pickle
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.weights import file_format, records, state_dict
from napari_hqsam2.weights.state_dict import load_checkpoint, load_weights

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

KEY = "no_obj_embed_spatial"


class Payload:
    """What a malicious checkpoint holds: unpickling it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return exec, (f"open({str(self.path)!r}, 'w').close()",)


def assert_equal_states(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for key, tensor in one.items():
        torch.testing.assert_close(tensor, other[key], rtol=0, atol=0)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_torch_files_are_read(
    model: nn.Module, tmp_path: Path, *, wrapped: bool, legacy: bool
) -> None:
    path = tmp_path / "ünïcode name.pt"
    state = model.state_dict()
    content = {"model": state, "epoch": 3} if wrapped else state
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    for _ in range(2):
        assert_equal_states(load_checkpoint(path), state)


def test_safetensors_are_read_where_they_are(
    model: nn.Module, tmp_path: Path, cache: Path
) -> None:
    path = tmp_path / "weights.bin"
    safetensors.torch.save_file(model.state_dict(), path, metadata={"origin": "mine"})
    assert_equal_states(load_checkpoint(str(path)), model.state_dict())
    assert not cache.exists()


def test_a_torch_file_is_unpickled_once(
    checkpoint: Path, model: nn.Module, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_checkpoint(checkpoint)
    (converted,) = (cache / "converted").iterdir()
    assert converted.suffix == ".safetensors"
    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled again"))
        assert_equal_states(load_checkpoint(checkpoint), model.state_dict())


def test_a_changed_file_is_converted_again(
    checkpoint: Path, model: nn.Module, cache: Path
) -> None:
    load_checkpoint(checkpoint)
    changed = {key: tensor + 1 for key, tensor in model.state_dict().items()}
    torch.save(changed, checkpoint)
    assert_equal_states(load_checkpoint(checkpoint), changed)
    assert len(list((cache / "converted").iterdir())) == 1


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_conversion_is_made_again(
    checkpoint: Path,
    model: nn.Module,
    cache: Path,
    damage: bytes | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    load_checkpoint(checkpoint)
    (converted,) = (cache / "converted").iterdir()
    converted.write_bytes(converted.read_bytes()[:-7] if damage is None else damage)
    with caplog.at_level(logging.WARNING):
        assert_equal_states(load_checkpoint(checkpoint), model.state_dict())
    assert "Converting" in caplog.text
    assert_equal_states(load_checkpoint(converted), model.state_dict())
    assert converted.with_name(f"{converted.name}.bad").exists()


def test_a_cache_that_cannot_be_written_does_no_harm(
    checkpoint: Path, model: nn.Module, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.write_text("a file where the folder should be")
    assert_equal_states(load_checkpoint(checkpoint), model.state_dict())
    assert "Cannot keep a converted copy" in caplog.text


def test_half_precision_becomes_the_dtype_of_the_model(
    model: nn.Module, tmp_path: Path
) -> None:
    path = tmp_path / "half.safetensors"
    half = {key: tensor.half() for key, tensor in model.state_dict().items()}
    safetensors.torch.save_file(half, path)
    load_weights(model, path)
    for key, tensor in model.state_dict().items():
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor, half[key].float(), rtol=0, atol=0)


def save_state(path: Path, **changes: Tensor) -> Path:
    safetensors.torch.save_file({"a": torch.zeros(2), **changes}, path)
    return path


BAD_FILES: dict[str, tuple[Callable[[Path, bytes], object], str]] = {
    "empty": (lambda path, _: path.write_bytes(b""), "is empty"),
    "lfs": (
        lambda path, _: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
        "Git LFS pointer.*git lfs pull",
    ),
    "html": (
        lambda path, _: path.write_text("\n <!DOCTYPE html><html>Sign in</html>"),
        "is a web page.*login",
    ),
    "json": (
        lambda path, _: path.write_text('{"error": "Invalid credentials"}'),
        "error message of a server",
    ),
    "text": (
        lambda path, _: path.write_text("hello, I am not a checkpoint"),
        "neither a torch checkpoint nor safetensors.*68 65 6c",
    ),
    "short": (lambda path, _: path.write_bytes(b"\x80"), "neither|damaged"),
    "cut zip": (
        lambda path, whole: path.write_bytes(whole[: len(whole) // 2]),
        "cut off or damaged",
    ),
    "zip head": (lambda path, _: path.write_bytes(b"PK\x03\x04"), "cut off or damaged"),
    "cut legacy": (
        lambda path, _: (
            torch.save(
                {"a": torch.ones(99)}, path, _use_new_zipfile_serialization=False
            ),
            path.write_bytes(path.read_bytes()[:-100]),
        ),
        "is damaged",
    ),
    "other zip": (
        lambda path, _: zipfile.ZipFile(path, "w").close(),
        "zip archive, but not a torch",
    ),
    "nan": (
        lambda path, _: torch.save({"a": torch.tensor([1.0, torch.nan])}, path),
        "NaN or infinity in a;",
    ),
    "infinite half": (
        lambda path, _: save_state(path, b=torch.tensor([torch.inf]).half()),
        "NaN or infinity in b;",
    ),
    "complex": (
        lambda path, _: torch.save({"a": torch.zeros(2, dtype=torch.complex64)}, path),
        "a as torch.complex64",
    ),
    "sparse": (
        lambda path, _: torch.save({"a": torch.eye(3).to_sparse()}, path),
        "a as torch.float32 .*sparse",
    ),
    "expanded": (
        lambda path, _: torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, path),
        r"a of shape \(1000000, 1000000\), which is more",
    ),
    "no tensors": (lambda path, _: torch.save({"epoch": 3}, path), "'epoch': int"),
    "list": (lambda path, _: torch.save([torch.zeros(2)], path), "holds a list"),
    "nothing": (lambda path, _: torch.save({}, path), "holds a dict without"),
    "number keys": (lambda path, _: torch.save({3: torch.zeros(2)}, path), "3: Tensor"),
    "cut safetensors": (
        lambda path, _: path.write_bytes(save_state(path).read_bytes()[:-3]),
        "has .* bytes but its header promises",
    ),
    "cut header": (
        lambda path, _: path.write_bytes(save_state(path).read_bytes()[:20]),
        "inside its header",
    ),
    "bad header": (
        lambda path, _: path.write_bytes((8).to_bytes(8, "little") + b"{nojson}"),
        "damaged safetensors header",
    ),
    "wrong offsets": (
        lambda path, _: path.write_bytes(
            header_of({"data_offsets": [4, 8]}) + b"12345678"
        ),
        "is damaged",
    ),
}


def header_of(entry: dict[str, Any]) -> bytes:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], **entry}}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
@pytest.mark.parametrize(("write", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_are_named_and_left_alone(
    checkpoint: Path, write: Callable[[Path, bytes], object], message: str
) -> None:
    write(checkpoint, checkpoint.read_bytes())
    content = checkpoint.read_bytes()
    with pytest.raises(CheckpointError, match=f"(?s)mine.pt .*{message}"):
        load_checkpoint(checkpoint)
    assert checkpoint.read_bytes() == content


@pytest.mark.filterwarnings("ignore:Validating sparse tensor:UserWarning")
@pytest.mark.parametrize(("write", "message"), BAD_FILES.values(), ids=BAD_FILES)
def test_bad_files_of_the_cache_are_put_aside(
    checkpoint: Path,
    cache: Path,
    write: Callable[[Path, bytes], object],
    message: str,
) -> None:
    cache.mkdir()
    cached = cache / "mine.pt"
    write(cached, checkpoint.read_bytes())
    content = cached.read_bytes()
    with pytest.raises(CheckpointError, match=f"(?s){message}.*moved aside to .*bad"):
        load_checkpoint(cached)
    assert not cached.exists()
    assert (cache / "mine.pt.bad").read_bytes() == content


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("place", ["weights", "beside", "top"])
def test_code_in_a_file_is_not_run(tmp_path: Path, place: str, *, legacy: bool) -> None:
    proof = tmp_path / "was run"
    payload = Payload(proof)
    content: Any = {
        "weights": {"model": {"a": payload}},
        "beside": {"model": {"a": torch.zeros(2)}, "extra": payload},
        "top": payload,
    }[place]
    path = tmp_path / "evil.pt"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(
        CheckpointError, match=r"evil\.pt holds Python objects.*\(exec\)"
    ):
        load_checkpoint(path)
    assert not proof.exists()
    torch.load(path, weights_only=False)
    assert proof.exists()  # the file was harmful indeed


def test_a_bare_pickle_with_code_is_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "was run"
    (tmp_path / "evil.pt").write_bytes(pickle.dumps({"a": Payload(proof)}, protocol=2))
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        load_checkpoint(tmp_path / "evil.pt")
    assert not proof.exists()


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED])
def test_zip_bombs_are_not_unpacked(
    tmp_path: Path, compression: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("bomb/data.pkl", bytes(2_000_000))
    monkeypatch.setattr(file_format, "MAX_PICKLE_BYTES", 1_000_000)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpacked"))
    with pytest.raises(CheckpointError, match=r"bomb\.pt unpacks 1 entries to 2000000"):
        load_checkpoint(path)


def test_entries_that_claim_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pt"
    torch.save({"a": torch.zeros(1000)}, path)
    content = path.read_bytes()
    # The directory entry of the tensor, made to claim 4 GB.
    place = content.rindex(b"PK\x01\x02", 0, content.rindex(b"/data/0"))
    claimed = (2**32 - 2).to_bytes(4, "little")
    path.write_bytes(content[: place + 20] + claimed * 2 + content[place + 28 :])
    with pytest.raises(CheckpointError, match=r"bomb\.pt (unpacks|is cut off)"):
        load_checkpoint(path)


def test_programs_are_not_checkpoints(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"a/{name}", b"")
    with pytest.raises(CheckpointError, match=r"TorchScript program.*state_dict"):
        load_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("version", "is_safe"),
    [("2.9.1", False), ("2.10.0", True), ("2.14.1+cu130", True), ("3.0.0a0", True)],
)
def test_old_torch_does_not_unpickle(
    checkpoint: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, version: str, *,
    is_safe: bool,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch, "__version__", version)
    if is_safe:
        assert load_checkpoint(checkpoint)
        return
    cache.mkdir()
    cached = checkpoint.rename(cache / "mine.pt")
    with pytest.raises(
        CheckpointError, match=r"torch 2\.10 or later.*this is torch 2\.9"
    ):
        load_checkpoint(cached)
    assert cached.exists()  # the file is not at fault


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"nowhere\.pt cannot be opened .*No such"
    ):
        load_checkpoint(tmp_path / "nowhere.pt")
    with pytest.raises(CheckpointError, match="is a folder"):
        load_checkpoint(tmp_path)


def test_weights_are_loaded_strictly(model: nn.Module, checkpoint: Path) -> None:
    fresh = type(model)()
    load_weights(fresh, checkpoint)
    assert_equal_states(fresh.state_dict(), model.state_dict())


def test_weights_of_another_model_are_named(model: nn.Module, checkpoint: Path) -> None:
    other = type(model)(144, 48, hq=True)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_weights(other, checkpoint)
    message = str(caught.value)
    assert "looks like sam2.1_hiera_tiny, the model is sam2.1_hq_hiera_large" in message
    assert "Missing in the file: image_encoder.trunk.blocks.12.bias, " in message
    assert " and 69 more." in message
    assert "patch_embed.proj.weight (96, 3, 7, 7) instead of (144, 3, 7, 7)" in message
    assert_equal_states(other.state_dict(), before)


class Refined(nn.Module):
    """A model with a part that its weights may lack."""

    def __init__(self) -> None:
        super().__init__()
        self.always = nn.Linear(2, 2)
        self.mask_refiner: nn.Module | None = nn.Sequential(nn.Linear(2, 3))


def test_weights_may_lack_the_optional_part_but_not_some_of_it(tmp_path: Path) -> None:
    path, saved = tmp_path / "weights.pt", Refined().state_dict()
    torch.save(saved, path)
    whole = Refined()
    load_weights(whole, path)
    assert_equal_states(whole.state_dict(), saved)
    torch.save({k: v for k, v in saved.items() if k.startswith("always")}, path)
    without = Refined()
    load_weights(without, path)
    assert without.mask_refiner is None
    assert_equal_states(
        without.state_dict(), {k: saved[k] for k in ("always.weight", "always.bias")}
    )
    torch.save({k: v for k, v in saved.items() if not k.endswith("0.bias")}, path)
    with pytest.raises(CheckpointError, match=r"Missing in the file: mask_refiner"):
        load_weights(whole, path)
    assert_equal_states(whole.state_dict(), saved)


def test_keys_that_only_the_file_has_are_refused(
    model: nn.Module, tmp_path: Path
) -> None:
    torch.save({**model.state_dict(), "extra.bias": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"Only in the file: extra\.bias\."):
        load_weights(model, tmp_path / "a.pt")
    torch.save({"fc.weight": torch.zeros(1)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="looks like no model known here"):
        load_weights(model, tmp_path / "a.pt")


def test_a_file_without_known_hash_is_pinned_by_its_first_strict_loading(
    model: nn.Module, checkpoint: Path, cache: Path
) -> None:
    name = "sam2.1_hq_hiera_large"
    cache.mkdir()
    cached = cache / f"{name}.pt"
    cached.write_bytes(checkpoint.read_bytes())
    load_checkpoint(cached)
    with pytest.raises(CheckpointError):
        load_weights(type(model)(hq=True), cached)
    assert name not in records.load_records().pinned
    load_weights(model, cached)
    pinned = records.load_records().pinned
    assert pinned == {name: records.known_sha256(cached)}
    torch.save({**model.state_dict(), KEY: torch.zeros(1, 4)}, cached)
    load_weights(model, cached)
    assert records.load_records().pinned == pinned


def test_files_elsewhere_and_known_hashes_are_not_pinned(
    model: nn.Module, checkpoint: Path, cache: Path
) -> None:
    cache.mkdir()
    hq_elsewhere = checkpoint.with_name("sam2.1_hq_hiera_large.pt")
    for target in (hq_elsewhere, cache / "sam2.1_hiera_tiny.pt", cache / "mine.pt"):
        target.write_bytes(checkpoint.read_bytes())
        load_weights(model, target)
    assert records.load_records().pinned == {}


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch wonders at the pickles
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(
    kind=st.sampled_from(["zip", "legacy", "safetensors"]),
    flips=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    kept=st.floats(0, 1),
)
def test_no_damage_gets_through_as_another_error(
    tmp_path: Path, kind: str, flips: list[tuple[float, int]], kept: float
) -> None:
    path = tmp_path / "a.pt"
    state = {"a": torch.arange(6.0), "b.weight": torch.ones(2, 3)}
    if kind == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    content = bytearray(path.read_bytes())
    for place, value in flips:
        content[int(place * (len(content) - 1))] = value
    path.write_bytes(content[: int(2 * kept * len(content))])
    try:
        loaded = state_dict.load_checkpoint(path)
    except CheckpointError as error:
        assert "a.pt" in str(error)  # noqa: PT017
    else:
        assert all(torch.isfinite(tensor.float()).all() for tensor in loaded.values())
