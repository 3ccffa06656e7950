"""What is on the machine, what it takes, and getting rid of it."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import filelock
import pytest

from napari_hqsam2 import download_model, list_models, remove_model
from napari_hqsam2.errors import CheckpointError
from napari_hqsam2.files import CONFIG_VARIABLE, config_folder, size_words
from napari_hqsam2.weights import inventory, own_files, records, registry
from napari_hqsam2.weights.cache import converted_path
from napari_hqsam2.weights.inventory import describe_model
from napari_hqsam2.weights.registry import CheckpointSpec
from napari_hqsam2.weights.state_dict import load_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(1000)


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "settings"))


@pytest.fixture
def spec(monkeypatch: pytest.MonkeyPatch) -> CheckpointSpec:
    """A model whose file is a thousand zeros."""
    digest = hashlib.sha256(DATA).hexdigest()
    spec = CheckpointSpec(
        name="zeros", trunk=(1, 1), url="file:///zeros", sha256=digest, size=1000
    )
    monkeypatch.setitem(registry.REGISTRY, "zeros", spec)
    return spec


def test_the_built_in_model_is_here_and_verified() -> None:
    item = describe_model(registry.DEFAULT_MODEL)
    assert (item.kind, item.is_here, item.check) == ("built in", True, "verified")
    assert (item.size, item.freed) == (item.path.stat().st_size, 0)
    assert [x.name for x in list_models()] == list(registry.REGISTRY)
    with pytest.raises(CheckpointError, match="part of the package"):
        remove_model(registry.DEFAULT_MODEL)


def test_a_file_is_checked_when_it_is_asked_for(spec, cache: Path) -> None:
    absent = describe_model("zeros")
    assert (absent.is_here, absent.size, absent.check) == (False, 1000, "")
    cache.mkdir()
    absent.path.write_bytes(DATA)
    assert describe_model("zeros").check == "not checked"
    assert describe_model("zeros", verify=True).check == "verified"
    assert describe_model("zeros").check == "verified"
    assert download_model("zeros") == absent.path
    absent.path.write_bytes(DATA + b"1")
    assert describe_model("zeros").check == "not checked"
    found = describe_model("zeros", verify=True)
    assert (found.check, found.size) == ("wrong", 1001)


def test_a_hash_that_nobody_published_is_known_after_first_use(
    spec, cache: Path, monkeypatch
) -> None:
    unknown = CheckpointSpec(name="zeros", trunk=(1, 1), url="file:///zeros")
    monkeypatch.setitem(registry.REGISTRY, "zeros", unknown)
    cache.mkdir()
    path = cache / "zeros.pt"
    path.write_bytes(DATA)
    assert describe_model("zeros", verify=True).check == "no known hash"
    records.pin_on_first_use(path)
    assert describe_model("zeros").check == "verified"


def test_all_of_a_model_is_removed(spec, cache: Path) -> None:
    target = cache / "zeros.pt"
    others = [
        converted_path(target),
        *(cache / f"zeros.pt{x}" for x in (".part", ".bad")),
    ]
    for path in (target, *others):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(DATA)
    records.known_sha256(target)
    item = describe_model("zeros")
    assert (item.freed, item.partial) == (4000, 1000)
    assert remove_model("zeros") == 4000
    assert not any(path.exists() for path in (target, *others))
    assert "zeros.pt" not in records.load_records().verified
    with pytest.raises(CheckpointError, match="nothing to remove"):
        remove_model("zeros")
    with pytest.raises(CheckpointError, match="Unknown model"):
        remove_model("ones")


def test_what_is_being_downloaded_is_not_removed(spec, cache: Path) -> None:
    cache.mkdir()
    part = cache / "zeros.pt.part"
    part.write_bytes(DATA)
    with (
        filelock.FileLock(cache / "zeros.pt.lock"),
        pytest.raises(CheckpointError, match="being downloaded; cancel"),
    ):
        remove_model("zeros")
    assert part.exists()
    assert remove_model("zeros") == 1000


def test_a_file_that_cannot_be_deleted_is_named(spec, cache: Path, monkeypatch) -> None:
    cache.mkdir()
    (cache / "zeros.pt").write_bytes(DATA)

    def busy(_: Path) -> None:
        raise PermissionError(13, "in use")

    monkeypatch.setattr("pathlib.Path.unlink", busy)
    with pytest.raises(CheckpointError, match=r"zeros.pt cannot be deleted \(in use\)"):
        inventory._delete([cache / "zeros.pt"])


def test_own_files_are_listed_and_only_forgotten(checkpoint: Path) -> None:
    own_files.remember(checkpoint, "sam2.1_hiera_tiny")
    own_files.remember(checkpoint.with_name("other.pt"), "sam2.1_hiera_small")
    own_files.remember(checkpoint, "sam2.1_hiera_tiny")
    load_checkpoint(checkpoint)
    mine, other = list_models()[-2:]
    assert (mine.kind, mine.name, mine.path) == ("own", "sam2.1_hiera_tiny", checkpoint)
    assert (mine.size, mine.is_here) == (checkpoint.stat().st_size, True)
    assert (other.is_here, other.size) == (False, None)
    copy = converted_path(checkpoint)
    assert mine.freed == copy.stat().st_size
    assert remove_model(checkpoint) == mine.freed
    assert checkpoint.exists()
    assert not copy.exists()
    assert [item.path.name for item in list_models() if item.kind == "own"] == [
        "other.pt"
    ]


def test_a_damaged_list_counts_as_empty(checkpoint: Path) -> None:
    config_folder().mkdir()
    for text in ("{", "[1]", '{"a": 1}', "[" * 5000):
        (config_folder() / own_files.FILE_NAME).write_text(text)
        assert own_files.own_files() == ()
    for number in range(own_files.MOST + 5):
        own_files.remember(checkpoint.with_name(str(number)), "zeros")
    listed = own_files.own_files()
    assert len(listed) == own_files.MOST
    assert listed[0].path.endswith(str(own_files.MOST + 4))


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 MB"), (15_508_254, "16 MB"), (898_083_611, "898 MB"), (1.8e9, "1.8 GB")],
)
def test_sizes_have_words(size: int, words: str) -> None:
    assert size_words(size) == words
