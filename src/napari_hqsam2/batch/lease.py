"""Who works on a file: a lease beside it that ends when nobody renews it.

A lock of the operating system would not do: not every shared disk has them.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from pathlib import Path

logger = logging.getLogger(__name__)

RENEWED_EVERY = 30.0
"""Seconds between two signs of life."""
LASTS = 300.0
"""Seconds after the last sign of life at which a lease has ended."""


class Lease:
    """The right to write a file, among processes on any machines that see its folder.

    Where clocks or disks play tricks, two may have it for a while; what they write must
    be the same, and appear whole.

    Parameters
    ----------
    target
        The file; it need not exist.
    """

    def __init__(self, target: Path) -> None:
        self.path = target.with_name(f".{target.name}.lease")
        self._owner = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": secrets.token_hex(8),
        }
        self._is_over = threading.Event()

    def take(self) -> str:
        """Take the lease; the words for who has it, or empty if it is ours now."""
        while True:
            try:
                with self.path.open("x", encoding="utf-8") as file:
                    json.dump(self._owner, file)
            except FileExistsError:
                owner = self._read()
                if self._is_alive(owner):
                    host, pid = owner.get("host", "?"), owner.get("pid", "?")
                    return f"process {pid} on {host}"
                logger.info("%s was left behind and is taken over", self.path)
                self.path.unlink(missing_ok=True)
            else:
                threading.Thread(target=self._renew, daemon=True).start()
                return ""

    def release(self) -> None:
        """Let others have it."""
        self._is_over.set()
        if self._read() == self._owner:
            self.path.unlink(missing_ok=True)

    def _renew(self) -> None:
        while not self._is_over.wait(RENEWED_EVERY):
            with suppress(OSError):
                os.utime(self.path)

    def _read(self) -> dict[str, object]:
        """Who has the lease; empty if nobody, or if it is being written."""
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_alive(self, owner: dict[str, object]) -> bool:
        try:
            age = time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return False
        pid = owner.get("pid")
        is_here = owner.get("host") == self._owner["host"] and isinstance(pid, int)
        return age < LASTS and not (is_here and not psutil.pid_exists(pid))
