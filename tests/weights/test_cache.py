from __future__ import annotations

import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from napari_hqsam2.weights import cache as cache_module
from napari_hqsam2.weights import records
from napari_hqsam2.weights.cache import (
    CACHE_VARIABLE,
    cache_folder,
    file_sha256,
    quarantine,
    written_whole,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_variable_moves_the_folder(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert cache_folder() == cache
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(CACHE_VARIABLE, "here")
    assert cache_folder() == tmp_path / "here"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv(CACHE_VARIABLE, "~/there")
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv(CACHE_VARIABLE)
    assert "napari-hqsam2" in cache_folder().parts
    monkeypatch.setenv(CACHE_VARIABLE, "")
    assert "napari-hqsam2" in cache_folder().parts


def test_only_files_of_the_cache_are_moved(cache: Path, tmp_path: Path) -> None:
    cache.mkdir()
    for folder in (cache, tmp_path):
        (folder / "a.pt").write_bytes(b"1")
    link = cache / "link.pt"
    link.symlink_to(tmp_path / "a.pt")
    assert quarantine(tmp_path / "a.pt") is None
    assert quarantine(link) is None  # it leads out of the cache
    assert quarantine(cache / "gone.pt") is None
    assert quarantine(cache / ".." / "a.pt") is None
    assert quarantine(cache / "a.pt") == cache / "a.pt.bad"
    assert sorted(path.name for path in cache.iterdir()) == ["a.pt.bad", "link.pt"]
    assert (tmp_path / "a.pt").read_bytes() == b"1"


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.bin"
    with written_whole(target) as temporary:
        temporary.write_bytes(b"first")
        assert not target.exists()
    assert target.read_bytes() == b"first"

    def fail() -> None:
        with written_whole(target) as temporary:
            temporary.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_bytes() == b"first"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_fault_at_any_step_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    owner: object = os if step == "fsync" else Path
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, fail)
        with pytest.raises(OSError, match="No space"):  # noqa: SIM117
            with written_whole(target) as temporary:
                temporary.write_bytes(b"new")
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_contents_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    for owner, name in ((os, "fsync"), (Path, "replace")):
        original: Callable[..., object] = getattr(owner, name)

        def noting(
            *args: object,
            original: Callable[..., object] = original,
            name: str = name,
        ) -> object:
            steps.append(name)
            return original(*args)

        monkeypatch.setattr(owner, name, noting)
    with written_whole(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"new")
    assert steps == (
        ["fsync", "replace", "fsync"] if os.name == "posix" else ["fsync", "replace"]
    )


def test_what_killed_processes_left_is_swept(tmp_path: Path) -> None:
    old, fresh, foreign = (
        tmp_path / name for name in (".a.123.tmp", ".a.456.tmp", "mine.tmp")
    )
    for path in (old, fresh, foreign):
        path.write_bytes(b"half")
    for path in (old, foreign):
        past = time.time() - 2 * cache_module.STALE_SECONDS
        os.utime(path, (past, past))
    with written_whole(tmp_path / "a") as temporary:
        temporary.write_bytes(b"1")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".a.456.tmp",
        "a",
        "mine.tmp",
    ]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"verified": {"a": 3}, "pinned": {}}', '{"pinned": {}}']
)
def test_damaged_records_count_as_empty(
    cache: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    (cache / "records.json").write_text(content)
    (cache / "a.pt").write_bytes(b"1")
    with caplog.at_level(logging.WARNING):
        assert records.load_records() == records.Records()
    assert "records.json, are unreadable" in caplog.text
    assert records.known_sha256(cache / "a.pt") == file_sha256(cache / "a.pt")
    assert set(records.load_records().verified) == {"a.pt"}


def test_many_at_once_lose_no_record(cache: Path) -> None:
    cache.mkdir()
    paths = [cache / f"{number}.pt" for number in range(12)]
    for path in paths:
        path.write_bytes(path.name.encode())
    with ThreadPoolExecutor(6) as pool:
        digests = list(pool.map(records.known_sha256, paths))
    verified = records.load_records().verified
    assert {name: stamp.sha256 for name, stamp in verified.items()} == {
        path.name: digest for path, digest in zip(paths, digests, strict=True)
    }


def test_records_that_cannot_be_written_do_no_harm(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    (cache / "a.pt").write_bytes(b"1")

    def fail(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_text", fail)
    assert records.known_sha256(cache / "a.pt") == file_sha256(cache / "a.pt")
    assert "Cannot note hashes" in caplog.text
