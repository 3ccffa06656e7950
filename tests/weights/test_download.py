from __future__ import annotations

import hashlib
import http.server
import logging
import os
import re
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import filelock
import pytest

from napari_hqsam2.errors import DownloadError
from napari_hqsam2.weights import download, records, registry, transfer
from napari_hqsam2.weights.cache import CACHE_VARIABLE, file_sha256
from napari_hqsam2.weights.download import ensure_checkpoint, fetch
from napari_hqsam2.weights.registry import CheckpointSpec
from napari_hqsam2.weights.transfer import DownloadCancelledError, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATA = bytes(range(256)) * 8192
SIZE = len(DATA)
DIGEST = hashlib.sha256(DATA).hexdigest()
QUICK = RetryPolicy(delay=0.01, timeout=(5.0, 5.0))


@dataclass
class Answer:
    """How the server treats one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = DATA
    sent: int | None = None
    """Bytes after which the connection breaks off; None sends all."""
    takes_ranges: bool = True
    tells_length: bool = True
    tag: str = '"v1"'


@dataclass
class Server:
    """A real server that gives its answers in order, then repeats the last one."""

    url: str
    answers: list[Answer] = field(default_factory=lambda: [Answer()])
    requests: list[dict[str, str]] = field(default_factory=list)

    def next_answer(self, headers: dict[str, str]) -> Answer:
        self.requests.append(headers)
        number = min(len(self.requests), len(self.answers)) - 1
        return self.answers[number]


def send(handler: http.server.BaseHTTPRequestHandler, answer: Answer) -> None:
    start, status, body = 0, answer.status, answer.body
    headers = dict(answer.headers)
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    wanted = handler.headers.get("If-Range", answer.tag)
    if match and answer.takes_ranges and status == 200 and wanted == answer.tag:
        start, status = int(match[1]), 206
        headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        if start >= len(body):
            status, headers["Content-Range"] = 416, f"bytes */{len(body)}"
    handler.send_response(status)
    if answer.tells_length:
        headers["Content-Length"] = str(len(body) - start)
    for name, value in {"ETag": answer.tag, **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    rest = body[start:] if answer.sent is None else body[start : start + answer.sent]
    handler.wfile.write(rest)
    if answer.sent is not None:
        handler.wfile.flush()
        handler.connection.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            send(self, served.next_answer(dict(self.headers)))

        def log_message(self, *_: object) -> None: ...  # type: ignore[override]

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        served = Server(f"http://127.0.0.1:{http_server.server_port}/model.pt")
        thread = threading.Thread(target=http_server.serve_forever, args=(0.02,))
        thread.start()
        yield served
        http_server.shutdown()
        thread.join()


def spec_of(server: Server, **changes: Any) -> CheckpointSpec:
    known: dict[str, Any] = {"sha256": DIGEST, "size": SIZE, **changes}
    return CheckpointSpec(name="model", trunk=(1, 1), url=server.url, **known)


def names(folder: Path) -> set[str]:
    """Files of a folder that matter: no locks, no records."""
    found = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {
        name for name in found if not name.endswith(".lock") and name != "records.json"
    }


def test_a_file_is_fetched_once(server: Server, cache: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch(spec_of(server), progress=lambda *state: seen.append(state))
    assert path == cache / "model.pt"
    assert path.read_bytes() == DATA
    assert seen[-1] == (SIZE, SIZE)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert fetch(spec_of(server)) == path
    assert len(server.requests) == 1
    assert server.requests[0]["Accept-Encoding"] == "identity"
    assert names(cache) == {"model.pt"}


def test_names_of_the_registry_are_fetched(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.REGISTRY, "model", spec_of(server))
    seen: list[int] = []
    path = ensure_checkpoint("model", lambda done, _: seen.append(done))
    assert path.read_bytes() == DATA
    assert seen[-1] == SIZE


def test_hashing_is_not_repeated_until_the_file_changes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(spec_of(server))
    hashed: list[Path] = []

    def noting(target: Path) -> str:
        hashed.append(target)
        return file_sha256(target)

    monkeypatch.setattr(records, "file_sha256", noting)
    fetch(spec_of(server))
    assert hashed == []
    os.utime(path, (1, 1))
    fetch(spec_of(server))
    assert hashed == [path]


@pytest.mark.parametrize("cuts", [1, 3])
def test_a_connection_that_breaks_off_is_resumed(server: Server, cuts: int) -> None:
    server.answers = [Answer(sent=300_000)] * cuts + [Answer()]
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert len(server.requests) == cuts + 1
    starts = [int(item["Range"][6:-1]) for item in server.requests[1:]]
    assert starts == sorted(set(starts))
    assert 0 < starts[0] <= 300_000
    assert all(item["If-Range"] == '"v1"' for item in server.requests[1:])


def test_three_retries_and_the_next_call_goes_on(server: Server, cache: Path) -> None:
    server.answers = [Answer(sent=300_000)]
    with pytest.raises(DownloadError, match="connection"):
        fetch(spec_of(server), policy=QUICK)
    assert len(server.requests) == 4
    arrived = (cache / "model.pt.part").stat().st_size
    assert 0 < arrived < SIZE
    server.answers = [Answer()]
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert server.requests[-1]["Range"] == f"bytes={arrived}-"


def test_a_server_without_ranges_starts_again(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pt.part").write_bytes(DATA[:1000])
    server.answers = [Answer(takes_ranges=False)]
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert len(server.requests) == 1


def test_a_file_that_changed_on_the_server_starts_again(
    server: Server, cache: Path
) -> None:
    server.answers = [Answer(body=b"x" * SIZE, tag='"old"', sent=300_000), Answer()]
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert server.requests[1]["If-Range"] == '"old"'
    assert names(cache) == {"model.pt"}


def test_an_old_part_that_does_not_fit_is_thrown_away(
    server: Server, cache: Path
) -> None:
    cache.mkdir()
    (cache / "model.pt.part").write_bytes(b"x" * 1000)
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert [item.get("Range") for item in server.requests] == ["bytes=1000-", None]
    (cache / "model.pt").unlink()
    (cache / "model.pt.part").write_bytes(DATA + b"more")
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA


@pytest.mark.parametrize("size", [SIZE, None])
def test_a_whole_part_is_not_fetched_again(
    server: Server, cache: Path, size: int | None
) -> None:
    cache.mkdir()
    (cache / "model.pt.part").write_bytes(DATA)
    assert fetch(spec_of(server, size=size), policy=QUICK).read_bytes() == DATA
    assert len(server.requests) == (0 if size else 1)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_passing_faults_are_tried_again(server: Server, status: int) -> None:
    server.answers = [Answer(status, body=b"later")] * 3 + [Answer()]
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA
    assert len(server.requests) == 4


def test_waiting_grows_and_heeds_the_server(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(
        transfer.Download, "_sleep", lambda _self, seconds: waits.append(seconds)
    )
    later = Answer(503, body=b"")
    busy = Answer(429, {"Retry-After": "7"}, b"")
    server.answers = [later, busy, later, Answer()]
    fetch(spec_of(server), policy=RetryPolicy(delay=1.0))
    assert waits == [1.0, 7.0, 4.0]
    server.answers = [Answer(429, {"Retry-After": "99999"}, b"")]
    with pytest.raises(DownloadError):
        fetch(spec_of(server, sha256="0" * 64), policy=RetryPolicy(longest_delay=9.0))
    assert waits[3:] == [9.0, 9.0, 9.0]


LASTING = {
    "403": (Answer(403, body=b"no"), "answered 403 Forbidden"),
    "404": (Answer(404, body=b"no"), "answered 404 Not Found"),
    "401": (Answer(401, body=b"no"), "answered 401"),
    "login page": (
        Answer(
            headers={"Content-Type": "text/html; charset=utf-8"}, body=b"<p>Sign in"
        ),
        "web page instead of the file",
    ),
    "page without type": (
        Answer(body=b"<!DOCTYPE html>".ljust(SIZE)),
        "is a web page",
    ),
    "lfs pointer": (
        Answer(body=b"version https://git-lfs.github.com/spec/v1".ljust(SIZE)),
        "is a Git LFS pointer",
    ),
    "wrong size": (Answer(body=DATA + b"x"), f"offers {SIZE + 1} bytes.*has {SIZE}"),
    "wrong hash": (Answer(body=DATA[::-1]), f"instead of {DIGEST}"),
    "too much": (Answer(body=DATA * 2, tells_length=False), "instead of|more than"),
}


@pytest.mark.parametrize(("answer", "message"), LASTING.values(), ids=LASTING)
def test_lasting_faults_come_with_instructions(
    server: Server, cache: Path, answer: Answer, message: str
) -> None:
    server.answers = [answer]
    with pytest.raises(DownloadError, match=message) as caught:
        fetch(spec_of(server), policy=QUICK)
    text = str(caught.value)
    for part in (server.url, str(cache / "model.pt"), DIGEST, f"{SIZE} bytes"):
        assert part in text
    assert CACHE_VARIABLE in text
    assert registry.DEFAULT_MODEL in text
    assert len(server.requests) == 1
    assert "model.pt" not in names(cache)


def test_a_file_with_a_wrong_hash_is_kept_aside(server: Server, cache: Path) -> None:
    server.answers = [Answer(body=DATA[::-1]), Answer()]
    with pytest.raises(DownloadError, match=r"kept as .*model\.pt\.part\.bad"):
        fetch(spec_of(server), policy=QUICK)
    assert names(cache) == {"model.pt.part.bad"}
    assert fetch(spec_of(server), policy=QUICK).read_bytes() == DATA


def test_no_network(cache: Path) -> None:
    unreachable = Server("http://127.0.0.1:9/model.pt")
    with pytest.raises(DownloadError, match="connection failed") as caught:
        fetch(spec_of(unreachable), policy=QUICK)
    assert f"save the file as {cache / 'model.pt'}" in str(caught.value)


def test_a_file_brought_by_hand_is_taken(server: Server, cache: Path) -> None:
    cache.mkdir()
    (cache / "model.pt").write_bytes(DATA)
    assert fetch(spec_of(server)).read_bytes() == DATA
    assert server.requests == []


def test_a_wrong_file_under_the_name_is_put_aside(
    server: Server, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir()
    (cache / "model.pt").write_bytes(b"something else")
    with caplog.at_level(logging.WARNING):
        assert fetch(spec_of(server)).read_bytes() == DATA
    assert f"instead of {DIGEST}" in caplog.text
    assert (cache / "model.pt.bad").read_bytes() == b"something else"


def test_a_pinned_hash_counts_like_a_published_one(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(server, sha256=None, size=None)
    monkeypatch.setitem(registry.REGISTRY, "model", spec)
    path = fetch(spec)
    assert path.read_bytes() == DATA
    records.pin_on_first_use(path)
    assert records.load_records().pinned == {"model": DIGEST}
    path.unlink()
    server.answers = [Answer(body=DATA[::-1])]
    with pytest.raises(DownloadError, match=f"instead of {DIGEST}"):
        fetch(spec, policy=QUICK)
    server.answers = [Answer()]
    assert fetch(spec, policy=QUICK) == path


def test_cancelling_keeps_what_has_arrived(server: Server, cache: Path) -> None:
    done = 0

    def progress(here: int, _: int | None) -> None:
        nonlocal done
        done = here

    with pytest.raises(DownloadCancelledError, match="What has arrived is kept"):
        fetch(spec_of(server), progress=progress, cancel=lambda: done > 400_000)
    part = (cache / "model.pt.part").read_bytes()
    assert len(part) == done
    assert DATA.startswith(part)
    assert fetch(spec_of(server)).read_bytes() == DATA
    assert server.requests[-1]["Range"] == f"bytes={done}-"


def test_cancelling_ends_the_wait_between_attempts(server: Server) -> None:
    server.answers = [Answer(503, body=b"")]
    timer = threading.Event()
    threading.Timer(0.3, timer.set).start()
    with pytest.raises(DownloadCancelledError):
        fetch(spec_of(server), cancel=timer.is_set, policy=RetryPolicy(delay=30.0))


def test_cancelling_ends_the_wait_for_another_process(
    server: Server, cache: Path
) -> None:
    cache.mkdir()
    asked = iter([False, False, True])
    with (
        filelock.FileLock(cache / "model.pt.lock"),
        pytest.raises(DownloadCancelledError),
    ):
        fetch(spec_of(server), cancel=lambda: next(asked))
    assert server.requests == []


def test_a_full_disk_is_noticed_before_and_while(
    server: Server, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    class Usage:
        free = 1000

    with monkeypatch.context() as patch:
        patch.setattr(transfer.shutil, "disk_usage", lambda _: Usage)
        with pytest.raises(DownloadError, match=f"1000 bytes left, and {SIZE}"):
            fetch(spec_of(server), policy=QUICK)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.Download, "_write", full)
    with pytest.raises(DownloadError, match="No space left on device"):
        fetch(spec_of(server), policy=QUICK)
    assert "model.pt" not in names(cache)


def test_a_cache_that_cannot_be_made(server: Server, cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(DownloadError, match=f"File exists.*{CACHE_VARIABLE}"):
        fetch(spec_of(server), policy=QUICK)


def test_addresses_that_cannot_be_asked() -> None:
    with pytest.raises(DownloadError, match="the request is impossible"):
        fetch(spec_of(Server("nothing://here")), policy=QUICK)


CHILD = """
import sys
from napari_hqsam2.weights.download import fetch
from napari_hqsam2.weights.registry import CheckpointSpec
url, digest = sys.argv[1:]
spec = CheckpointSpec(name="model", trunk=(1, 1), url=url, sha256=digest)
print(fetch(spec))
"""


def test_processes_that_want_the_same_file_fetch_it_once(
    server: Server, cache: Path
) -> None:
    command = [sys.executable, "-c", CHILD, server.url, DIGEST]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603
        for _ in range(2)
    ]
    outputs = [child.communicate(timeout=120)[0].strip() for child in children]
    assert outputs == [str(cache / "model.pt")] * 2
    assert (cache / "model.pt").read_bytes() == DATA
    assert len(server.requests) == 1


def test_importing_does_not_load_torch() -> None:
    code = (
        "import sys, napari_hqsam2.weights.download;"
        "print([name for name in ('torch', 'numpy') if name in sys.modules])"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "[]"
    assert download.logger.name == "napari_hqsam2.weights.download"
