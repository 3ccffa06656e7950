"""Training images out of downloaded packages."""

from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

from napari_hqsam2.training import packages
from napari_hqsam2.training.sources import Movies, Stills, load_sources

if TYPE_CHECKING:
    from pathlib import Path


def write_wheel(path: Path, files: dict[str, np.ndarray]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in files.items():
            buffer = io.BytesIO()
            tifffile.imwrite(buffer, array)
            archive.writestr(name, buffer.getvalue())


def test_pairs_keep_their_labels_and_get_one_stretch_a_stack(tmp_path: Path) -> None:
    wheels, folder = tmp_path / "wheels", tmp_path / "out"
    wheels.mkdir()
    plane = np.linspace(100, 375, 12 * 10).reshape(12, 10).astype(np.uint16)
    depth = np.stack([plane + z for z in range(31)])
    labels = (depth > 300).astype(np.uint16) * 7
    write_wheel(
        wheels / "stardist-0.9.2-py3.whl",
        {
            "stardist/data/images/img2d.tif": plane,
            "stardist/data/images/mask2d.tif": labels[0],
            "stardist/data/images/img3d.tif": depth,
            "stardist/data/images/mask3d.tif": labels,
        },
    )
    packages.main([str(wheels), str(folder)])
    held_out = load_sources([folder], "validation")
    (nuclei,) = (s for s in held_out if isinstance(s, Stills))
    np.testing.assert_array_equal(nuclei.frames[0].labels, labels[0])
    (sweeps,) = load_sources([folder], "train")
    assert isinstance(sweeps, Movies)
    assert [clip.labels.shape for clip in sweeps.clips] == [(15, 12, 10)] * 2
    np.testing.assert_array_equal(
        np.concatenate([clip.labels for clip in sweeps.clips]), labels[:30]
    )
    images = np.concatenate([clip.images for clip in sweeps.clips]).astype(int)
    assert images.dtype.kind == "i"
    assert images[0].max() < images[-1].max()


def test_a_folder_without_the_packages_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no wheel of .*stardist"):
        packages.write_archives(tmp_path, tmp_path / "out")
