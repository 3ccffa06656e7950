"""What a result was made of, as one short text: equal texts, equal results."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SIGNATURE_KEY = "signature"
"""Name of the signature among the provenance of labels."""


def sign(values: Mapping[str, Any]) -> str:
    """Digest of settings; paths among them stand for the files that they name.

    Of a file or a folder count the names, sizes and times of change of all that is in
    it, not the place where it lies.
    """
    plain = {
        name: list(_stamps(value)) if isinstance(value, Path) else repr(value)
        for name, value in values.items()
    }
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _stamps(path: Path) -> Iterator[tuple[str, int, int]]:
    if not path.exists():
        yield path.name, -1, 0
        return
    if not path.is_dir():
        status = path.stat()
        yield path.name, status.st_size, status.st_mtime_ns
        return
    for folder, inner, names in os.walk(path):
        inner.sort()
        for name in sorted(names):
            file = Path(folder, name)
            status = file.stat()
            place = file.relative_to(path).as_posix()
            yield place, status.st_size, status.st_mtime_ns


def written_provenance(path: Path) -> dict[str, str]:
    """Provenance of labels that `write_labels` wrote; empty if it is another file."""
    try:
        with tifffile.TiffFile(path) as tiff:
            ome = tifffile.xml2dict(tiff.ome_metadata or "<OME/>")["OME"]
        pairs = ome["StructuredAnnotations"]["MapAnnotation"]["Value"]["M"]
        return {str(pair["K"]): str(pair["value"]) for pair in pairs}
    except (tifffile.TiffFileError, KeyError, TypeError, ValueError, SyntaxError):
        return {}
