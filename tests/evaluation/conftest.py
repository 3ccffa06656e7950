"""A small model, and tiny data sets laid out as the large ones are published."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as run_lengths

from napari_hqsam2.api import load_model
from napari_hqsam2.evaluation.results import Run

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

FRAMES, HEIGHT, WIDTH = 5, 64, 80
RESOLUTION = 128


@pytest.fixture(scope="session")
def predictor() -> SAM2VideoPredictor:
    return load_model(device="cpu", resolution=RESOLUTION)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "out", {"model": "nano"}, lambda done, total: None)


def moving_discs() -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of three discs; the third comes with frame 2."""
    labels = np.zeros((FRAMES, HEIGHT, WIDTH), np.uint8)
    y, x = np.indices((HEIGHT, WIDTH))
    for t in range(FRAMES):
        labels[t][(y - 16) ** 2 + (x - 16 - 2 * t) ** 2 <= 9**2] = 1
        labels[t][(y - 46) ** 2 + (x - 60 + 2 * t) ** 2 <= 10**2] = 2
        if t >= 2:
            labels[t][(y - 46) ** 2 + (x - 20) ** 2 <= 8**2] = 3
    noise = np.random.default_rng(0).normal(0, 4, labels.shape)
    images = (np.where(labels > 0, 190, 50) + noise).clip(0, 255).astype(np.uint8)
    return images, labels


def write_palette(path: Path, labels: np.ndarray) -> None:
    """Write labels as DAVIS and MOSE do: an indexed PNG."""
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([i % 256 for i in range(3 * 256)])
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def write_video(images: Path, masks: Path, *, late: bool) -> None:
    """Write the discs as colour JPEG and indexed masks."""
    images.mkdir(parents=True)
    frames, labels = moving_discs()
    for t, (frame, truth) in enumerate(zip(frames, labels, strict=True)):
        rgb = np.repeat(frame[..., None], 3, axis=2)
        Image.fromarray(rgb).save(images / f"{t:05d}.jpg", quality=95)
        kept = truth if late else np.where(truth == 3, 0, truth)
        write_palette(masks / f"{t:05d}.png", kept)


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    folder = tmp_path / "DAVIS"
    for name in ("discs", "spare"):
        write_video(
            folder / "JPEGImages" / "480p" / name,
            folder / "Annotations" / "480p" / name,
            late=False,
        )
    for year in ("2016", "2017"):
        lists = folder / "ImageSets" / year
        lists.mkdir(parents=True)
        (lists / "val.txt").write_text("discs\n", encoding="utf-8")
    return folder


@pytest.fixture
def mose(tmp_path: Path) -> Path:
    folder = tmp_path / "MOSE"
    write_video(
        folder / "valid" / "JPEGImages" / "v1",
        folder / "valid" / "Annotations" / "v1",
        late=True,
    )
    return folder


@pytest.fixture
def ctc(tmp_path: Path) -> Path:
    """Discs whose first is followed by two daughters (4 and 5) at time 3."""
    folder = tmp_path / "Fluo-N2DH-TEST"
    images, labels = moving_discs()
    y, x = np.indices((HEIGHT, WIDTH))
    for t in (3, 4):
        mother = labels[t] == 1
        labels[t][mother & (y < 16)] = 4
        labels[t][mother & (y > 16)] = 5
        labels[t][mother & (y == 16)] = 0
    markers = np.where((y % 4 < 3) & (x % 4 < 3), labels, 0)
    for part in ("01", "01_GT/TRA", "01_GT/SEG"):
        (folder / part).mkdir(parents=True)
    for t in range(FRAMES):
        tifffile.imwrite(folder / "01" / f"t{t:03d}.tif", images[t])
        truth = folder / "01_GT"
        tifffile.imwrite(truth / "TRA" / f"man_track{t:03d}.tif", markers[t])
        if t != 2:
            tifffile.imwrite(truth / "SEG" / f"man_seg{t:03d}.tif", labels[t])
    tracks = ["1 0 2 0", "2 0 4 0", "3 2 4 0", "4 3 4 1", "5 3 4 1"]
    list_path = folder / "01_GT" / "TRA" / "man_track.txt"
    list_path.write_text("\n".join(tracks) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    folder = tmp_path / "volumes"
    images, labels = moving_discs()
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    tifffile.imwrite(
        folder / "images" / "a.tif", images.astype(np.uint16), metadata={"axes": "ZYX"}
    )
    tifffile.imwrite(
        folder / "labels" / "a_masks.tif",
        labels.astype(np.uint16),
        metadata={"axes": "ZYX"},
    )
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> tuple[Path, Path]:
    """Two images of different kinds, and their labels."""
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    frames, truths = moving_discs()
    Image.fromarray(frames[0]).save(images / "a.png")
    tifffile.imwrite(labels / "a_labels.tif", truths[0])
    np.save(images / "b_image.npy", frames[3][:48].astype(np.uint16) * 9)
    write_palette(labels / "b.png", truths[3][:48])
    return images, labels


@pytest.fixture
def coco(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Folder of images, annotations and boxes; one box has nothing in it."""
    folder = tmp_path / "val2017"
    folder.mkdir()
    frames, truths = moving_discs()
    images, annotations, boxes = [], [], []
    for t in range(2):
        Image.fromarray(frames[t]).save(folder / f"{t}.png")
        shape = {"height": HEIGHT, "width": WIDTH}
        images.append({"id": 10 + t, "file_name": f"{t}.png"} | shape)
        for value in (1, 2):
            runs = run_lengths.encode(np.asfortranarray(truths[t] == value))
            box = run_lengths.toBbox(runs).tolist()
            record = {"image_id": 10 + t, "category_id": value, "bbox": box}
            boxes.append(record | {"score": 0.9})
            runs["counts"] = runs["counts"].decode("ascii")
            area = int((truths[t] == value).sum())
            annotations.append(
                record
                | {"id": len(annotations) + 1, "iscrowd": 0}
                | {"segmentation": dict(runs), "area": area}
            )
    empty = {"image_id": 10, "category_id": 1, "bbox": [60, 2, 9, 7], "score": 0.1}
    truth = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth), encoding="utf-8")
    (tmp_path / "boxes.json").write_text(json.dumps([*boxes, empty]), encoding="utf-8")
    return folder, tmp_path / "truth.json", tmp_path / "boxes.json"
