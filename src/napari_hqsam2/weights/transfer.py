"""One file on its way from a server to the disk: resumed, retried, verified."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import filelock
import requests

from napari_hqsam2.errors import DownloadError
from napari_hqsam2.files import publish
from napari_hqsam2.weights import records
from napari_hqsam2.weights.cache import file_sha256, quarantine
from napari_hqsam2.weights.file_format import MAX_BYTES, describe_other_content

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.weights.registry import CheckpointSpec

logger = logging.getLogger(__name__)

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes of the whole file, if known."""
Cancel: TypeAlias = Callable[[], bool]
"""Asked often; once it returns True the work stops."""

CHUNK_BYTES = 256 * 1024
POLL_SECONDS = 0.1
PASSING_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Answers of a server that may be better a moment later."""
PARTIAL_CONTENT = 206
RANGE_REFUSED = 416
CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")


class DownloadCancelledError(DownloadError):
    """The user cancelled; what has arrived is kept and used by the next attempt."""


class PassingFaultError(Exception):
    """A fault after which the same request may succeed."""

    def __init__(self, cause: str, wait: float = 0.0) -> None:
        super().__init__(cause)
        self.wait = wait
        """Seconds that the server asks to wait."""


class LastingFaultError(Exception):
    """A fault that a further attempt would meet again."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how patiently to try."""

    retries: int = 3
    delay: float = 1.0
    """Seconds before the first retry; doubled for each further one."""
    longest_delay: float = 30.0
    timeout: tuple[float, float] = (10.0, 20.0)
    """Seconds without a connection, and without a byte, that end an attempt."""


@dataclass(frozen=True, slots=True)
class Download:
    """One file on its way into the cache folder."""

    spec: CheckpointSpec
    target: Path
    progress: Progress
    cancel: Cancel
    policy: RetryPolicy

    @property
    def part(self) -> Path:
        """File that holds what has arrived."""
        return self.target.with_name(f"{self.target.name}.part")

    @property
    def tag(self) -> Path:
        """File that holds the server's mark of the version that `part` is of."""
        return self.target.with_name(f"{self.target.name}.etag")

    def acquire(self, lock: filelock.BaseFileLock) -> None:
        """Take the lock of the file; wait as long as another process holds it."""
        while True:
            self.stop_if_cancelled()
            try:
                lock.acquire(timeout=POLL_SECONDS)
            except filelock.Timeout:
                continue
            return

    def stop_if_cancelled(self) -> None:
        """Raise DownloadCancelledError once the user has cancelled."""
        if self.cancel():
            msg = (
                f"The download of {self.spec.name} was cancelled. What has arrived is "
                "kept; the next attempt goes on from there."
            )
            raise DownloadCancelledError(msg)

    def run(self) -> None:
        """Fetch, verify and publish the file."""
        was_resumed = self.part.exists()
        self._fetch_all()
        try:
            self._verify()
        except LastingFaultError:
            if not was_resumed:
                raise
            # The old part may have been of another version of the file.
            logger.info("Fetching %s again from the start", self.spec.name)
            self._fetch_all()
            self._verify()
        publish(self.part, self.target)
        self.tag.unlink(missing_ok=True)
        records.known_sha256(self.target)

    def _fetch_all(self) -> None:
        delay = self.policy.delay
        for left in range(self.policy.retries, -1, -1):
            self.stop_if_cancelled()
            try:
                self._attempt()
            except PassingFaultError as error:
                if not left:
                    raise LastingFaultError(str(error)) from error
                wait = min(max(delay, error.wait), self.policy.longest_delay)
                logger.info(
                    "%s: %s; trying again in %.1f s", self.spec.name, error, wait
                )
                self._sleep(wait)
                delay *= 2
            else:
                return

    def _sleep(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.stop_if_cancelled()
            time.sleep(min(left, POLL_SECONDS))

    def _attempt(self) -> None:
        """Fetch what is missing in one request."""
        here = self.part.stat().st_size if self.part.exists() else 0
        if here and here == self.spec.size:
            return
        headers = {"Accept-Encoding": "identity"}
        if here:
            headers["Range"] = f"bytes={here}-"
            if self.tag.exists():
                headers["If-Range"] = self.tag.read_text("utf-8")
        url = str(self.spec.url)
        timeout = self.policy.timeout
        try:
            with requests.get(
                url, headers=headers, stream=True, timeout=timeout
            ) as response:
                self._receive(response, here)
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            cause = f"the connection failed or broke off ({type(error).__name__})"
            raise PassingFaultError(cause) from error
        except requests.RequestException as error:
            cause = f"the request is impossible ({error})"
            raise LastingFaultError(cause) from error

    def _receive(self, response: requests.Response, here: int) -> None:
        """Store what one response brings, `here` bytes being here already."""
        if response.status_code == RANGE_REFUSED:
            self._check_refusal(response, here)
            return
        _check_status(response)
        start, total = _extent(response)
        if start not in (0, here):
            msg = f"the server sent byte {start} instead of {here}"
            raise PassingFaultError(msg)
        if total is not None:
            self._check_total(total, start)
        if start == 0:
            self._remember_version(response.headers.get("ETag", ""))
        with self.part.open("ab" if start else "wb") as file:
            done = self._write(response, file, start, total)
        if total is not None and done < total:
            msg = f"the connection broke off after {done} of {total} bytes"
            raise PassingFaultError(msg)

    def _write(
        self,
        response: requests.Response,
        file: BinaryIO,
        done: int,
        total: int | None,
    ) -> int:
        """Write the body of a response; return how many bytes are here then."""
        most = MAX_BYTES if total is None else total
        for chunk in response.iter_content(CHUNK_BYTES):
            self.stop_if_cancelled()
            other = None if done else describe_other_content(chunk)
            if other is not None:
                msg = f"what the server sent {other}"
                raise LastingFaultError(msg)
            done += len(chunk)
            if done > most:
                msg = f"the server sent more than {most} bytes"
                raise LastingFaultError(msg)
            file.write(chunk)
            self.progress(done, total)
        return done

    def _remember_version(self, mark: str) -> None:
        """Keep the server's mark of this version, if it can be asked for again."""
        self.tag.unlink(missing_ok=True)
        if mark.startswith('"'):
            self.tag.write_text(mark, "utf-8")

    def _check_refusal(self, response: requests.Response, here: int) -> None:
        """Accept that there is nothing to continue if the file is already whole."""
        if response.headers.get("Content-Range", "") != f"bytes */{here}":
            self._discard()
            msg = f"the server cannot continue the file ({response.status_code})"
            raise PassingFaultError(msg)

    def _check_total(self, total: int, start: int) -> None:
        expected = self.spec.size or total
        if total != expected or not 0 < total <= MAX_BYTES:
            self._discard()
            msg = f"the server offers {total} bytes, but the file has {expected}"
            raise LastingFaultError(msg)
        free = shutil.disk_usage(self.target.parent).free
        if free < total - start:
            msg = (
                f"the disk of {self.target.parent} has {free} bytes left, and "
                f"{total - start} are needed"
            )
            raise LastingFaultError(msg)

    def _discard(self) -> None:
        self.part.unlink(missing_ok=True)
        self.tag.unlink(missing_ok=True)

    def _verify(self) -> None:
        """Check the hash of what has arrived; put a wrong file aside."""
        expected = records.expected_sha256(self.spec)
        found = file_sha256(self.part)
        if expected is not None and found != expected:
            aside = quarantine(self.part)
            self.tag.unlink(missing_ok=True)
            msg = (
                f"the file has SHA-256 {found} instead of {expected} (kept as {aside})"
            )
            raise LastingFaultError(msg)


def _check_status(response: requests.Response) -> None:
    status = f"{response.status_code} {response.reason}"
    if response.status_code in PASSING_STATUS:
        wait = response.headers.get("Retry-After", "")
        seconds = float(wait) if wait.isdecimal() else 0.0
        msg = f"the server answered {status}"
        raise PassingFaultError(msg, seconds)
    if response.status_code not in (200, PARTIAL_CONTENT):
        msg = f"the server answered {status}"
        raise LastingFaultError(msg)
    if response.headers.get("Content-Type", "").startswith("text/html"):
        msg = (
            "the server sent a web page instead of the file; the network may ask "
            "for a login first"
        )
        raise LastingFaultError(msg)


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """First byte that a response brings, and the size of the whole file if told."""
    if response.status_code == PARTIAL_CONTENT:
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None:
            msg = "the server continues the file without saying where"
            raise LastingFaultError(msg)
        return int(match[1]), int(match[2])
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None
