"""Layouts of video data sets, and objects followed through them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from napari_hqsam2.errors import EvaluationError
from napari_hqsam2.evaluation.following import follow, start_prompt
from napari_hqsam2.evaluation.label_files import read_labels
from napari_hqsam2.evaluation.video_layouts import find_sequences
from napari_hqsam2.evaluation.video_run import evaluate_videos
from napari_hqsam2.predictors.frame_source import open_frames

if TYPE_CHECKING:
    from pathlib import Path

    from napari_hqsam2.evaluation.results import Run
    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor


def test_davis_2017_has_several_objects_and_lists(davis: Path) -> None:
    (video,) = find_sequences(davis, "davis2017")
    assert video.name == "discs"
    assert len(video.frames) == len(video.annotations) == 5
    assert {value: frame for value, (frame, _) in video.first_masks().items()} == {
        1: 0,
        2: 0,
    }


def test_what_davis_marks_later_does_not_count(davis: Path) -> None:
    (video,) = find_sequences(davis, "davis2017")
    later = read_labels(video.annotations[1]).copy()
    later[:3, -3:] = 3
    Image.fromarray(later).save(video.annotations[1])
    assert video.first_masks().keys() == {1, 2}


def test_davis_2016_has_one_object(davis: Path) -> None:
    (video,) = find_sequences(davis, "davis2016")
    ((frame, mask),) = video.first_masks().values()
    assert frame == 0
    assert mask.sum() == (read_labels(video.annotations[0]) > 0).sum()


def test_lists_of_paths_are_read_too(davis: Path) -> None:
    lists = davis / "ImageSets" / "480p"
    lists.mkdir()
    lines = [
        f"/JPEGImages/480p/spare/{n:05d}.jpg /Annotations/480p/spare/{n:05d}.png\n"
        for n in range(2)
    ]
    (lists / "train.txt").write_text("".join(lines), encoding="utf-8")
    assert [v.name for v in find_sequences(davis, "davis2016", "train")] == ["spare"]


def test_without_a_list_all_videos_count(davis: Path) -> None:
    (davis / "ImageSets" / "2017" / "val.txt").unlink()
    assert [v.name for v in find_sequences(davis, "davis2017")] == ["discs", "spare"]
    with pytest.raises(EvaluationError, match="split 'test-dev'"):
        find_sequences(davis, "davis2017", "test-dev")


def test_void_does_not_count_in_davis_2017(davis: Path) -> None:
    path = davis / "Annotations" / "480p" / "discs" / "00000.png"
    labels = read_labels(path).copy()
    labels[:2, :2] = 255
    Image.fromarray(labels).save(path)
    (video,) = find_sequences(davis, "davis2017")
    assert video.first_masks().keys() == {1, 2}
    assert video.void(video.truth(0)).sum() == 4


@pytest.mark.parametrize("inside", [True, False])
def test_mose_is_found_from_its_folder_or_its_split(mose: Path, inside: bool) -> None:
    (video,) = find_sequences(mose / "valid" if inside else mose, "mose")
    firsts = video.first_masks()
    assert {value: frame for value, (frame, _) in firsts.items()} == {1: 0, 2: 0, 3: 2}


def test_a_missing_folder_is_named(davis: Path) -> None:
    with pytest.raises(EvaluationError, match="Annotations"):
        find_sequences(davis / "ImageSets", "davis2017")
    (davis / "ImageSets" / "2017" / "val.txt").write_text("none\n", encoding="utf-8")
    with pytest.raises(EvaluationError, match="none"):
        find_sequences(davis, "davis2017")


def test_late_objects_begin_where_they_appear(
    predictor: SAM2VideoPredictor, mose: Path, run: Run
) -> None:
    videos = find_sequences(mose, "mose")
    means, by_video = (
        table.records() for table in evaluate_videos(predictor, videos, "mask", run)
    )
    masks = [
        read_labels(run.folder / "masks" / "v1" / f"{t:05d}.png") for t in range(5)
    ]
    assert [bool((mask == 3).any()) for mask in masks[:3]] == [False, False, True]
    # A mask prompt is taken as it is.
    np.testing.assert_array_equal(masks[0], read_labels(videos[0].annotations[0]))
    rows = (run.folder / "objects.csv").read_text(encoding="utf-8").splitlines()
    counted = {row.split(",")[1]: row.split(",")[2:4] for row in rows[1:]}
    # Frames 1 to 3 of 0 to 4; of the late object only what comes after frame 2.
    assert counted == {"1": ["0", "3"], "2": ["0", "3"], "3": ["2", "1"]}
    assert means[0]["j_mean"] > 0.5
    assert by_video[0]["objects"] == 3


def test_masks_are_written_where_there_is_no_truth(
    predictor: SAM2VideoPredictor,
    mose: Path,
    run: Run,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for path in sorted((mose / "valid" / "Annotations" / "v1").iterdir())[1:]:
        path.unlink()
    videos = find_sequences(mose, "mose")
    means, _ = evaluate_videos(predictor, videos, "mask", run)
    assert means.records()[0]["j_and_f"] is None
    assert "can be handed in" in caplog.text
    assert len(list((run.folder / "masks" / "v1").iterdir())) == 5


@pytest.mark.parametrize("start", ["mask", "box", "click"])
def test_objects_may_be_given_up(
    predictor: SAM2VideoPredictor, mose: Path, start: str
) -> None:
    (video,) = find_sequences(mose, "mose")
    prompts = [
        start_prompt(frame, value, mask, start)
        for value, (frame, mask) in video.first_masks().items()
        if value != 1
    ]
    frames = open_frames([str(path) for path in video.frames])
    labels = dict(follow(predictor, frames, prompts, {2: 1, 3: 3}))
    assert list(labels) == [0, 1, 2, 3, 4]
    assert 2 in labels[1]
    assert not (labels[2] == 2).any()
    assert set(np.unique(labels[3])) == {0, 3}
    assert not labels[4].any()
