"""``napari-hqsam2 train`` on generated images, with an untrained small model."""

from __future__ import annotations

import json
import shutil
import signal

import numpy as np
import pytest
import safetensors
import tifffile
import torch
from safetensors.torch import load_file, save_file
from scipy import ndimage
from typer.testing import CliRunner

from napari_hqsam2 import build, list_models
from napari_hqsam2.cli import app
from napari_hqsam2.synthetic import make_image
from napari_hqsam2.training.fine_tuning import job
from napari_hqsam2.training.fine_tuning.data_files import DataFiles
from napari_hqsam2.training.trainer import Trainer

SMALL = (
    "model.channels=64",
    "model.image_size=128",
    "model.image_encoder.trunk.embed_dim=16",
    "model.image_encoder.trunk.stages=[1,1,1,1]",
    "model.image_encoder.trunk.global_att_blocks=[2]",
    "model.mask_decoder.iou_hidden_dim=32",
    "model.memory_attention.depth=1",
)
FROZEN = ("image_encoder.", "sam_prompt_encoder.", "memory_", "sam_mask_decoder.conv_s")
HQ = (
    "sam_mask_decoder.hf_",
    "sam_mask_decoder.embedding_maskfeature",
    "mask_refiner.",
)
MODEL = "sam2.1_hq_hiera_nano"


def build_small(name, weights=None, device="cpu"):
    torch.manual_seed(0)
    return build.build_sam2_video_predictor(
        name, weights, device, hydra_overrides_extra=SMALL
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Five images and labels in two folders, and weights to start from."""
    folder = tmp_path_factory.mktemp("made")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for index in range(5):
        scene = make_image(np.random.default_rng(index), (96, 96), "nuclei_large")
        tifffile.imwrite(folder / f"images/{index}.tif", scene.image * np.uint16(9))
        tifffile.imwrite(folder / f"labels/{index}_masks.tif", scene.labels)
    save_file(build_small(MODEL).model.state_dict(), folder / "start.safetensors")
    return folder


@pytest.fixture
def run(monkeypatch, tmp_path, made):
    """Run a command line with the small model, beside a copy of the files."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("NAPARI_HQSAM2_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NAPARI_HQSAM2_CONFIG", str(tmp_path / "settings"))
    monkeypatch.setattr(job, "build_sam2_video_predictor", build_small)
    monkeypatch.chdir(tmp_path)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["train", *map(str, arguments)])

    return invoke


COMMON = ("--checkpoint", "start.safetensors", "--device", "cpu")
PAIR = ("images", "labels", *COMMON)


def changed(start, path):
    before, after = load_file(start), load_file(path)
    assert before.keys() == after.keys()
    return {key for key in before if not torch.equal(before[key], after[key])}


def test_trains_decoder_and_hq_and_writes_weights_and_scores(run, tmp_path):
    result = run(*PAIR, "-o", "out", "--steps", 3)
    assert result.exit_code == 0, result.output
    assert "4 labelled frames to learn from, 1 to measure on" in result.stderr
    for word in ("1 click", "3 clicks", "box", "out/weights.safetensors (3 steps"):
        assert word in result.stdout
    keys = changed("start.safetensors", "out/weights.safetensors")
    assert all(any(key.startswith(part) for key in keys) for part in HQ)
    assert any(key.startswith("sam_mask_decoder.transformer") for key in keys)
    assert not any(key.startswith((*FROZEN, "no_", "obj_ptr")) for key in keys)
    assert not any("obj_score" in key for key in keys)
    with safetensors.safe_open("out/weights.safetensors", "pt") as file:
        said = file.metadata()
    assert (said["model"], said["train"], said["steps"]) == (MODEL, "hq+decoder", "3")
    assert len(said["base_sha256"]) == 64
    own = [item for item in list_models() if item.kind == "own"]
    assert [(item.path, item.name) for item in own] == [
        (tmp_path / "out/weights.safetensors", MODEL)
    ]
    state = json.loads((tmp_path / "out/run.json").read_text())
    for when in ("before", "after"):
        assert json.loads(said[f"scores_{when}"]) == state[when]
        assert state[when].keys() == {"click_1", "click_3", "box"}
    assert (tmp_path / "out/log.jsonl").is_file()
    # what segment, evaluate and load_model do with a checkpoint
    build_small(MODEL, "out/weights.safetensors")


def test_an_interrupted_run_goes_on_with_the_same_bits(run, monkeypatch):
    assert run(*PAIR, "-o", "whole", "--steps", 4).exit_code == 0
    step = Trainer._step

    def interrupted(self, batch):
        if self.step_number == 1:
            signal.raise_signal(signal.SIGINT)
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", interrupted)
        result = run(*PAIR, "-o", "parts", "--steps", 4)
    assert result.exit_code == 130
    assert "Interrupted after 2 steps" in result.stderr
    build_small(MODEL, "parts/weights.safetensors")
    result = run(*PAIR, "-o", "parts", "--steps", 4)
    assert result.exit_code == 0, result.output
    assert changed("whole/weights.safetensors", "parts/weights.safetensors") == set()
    # a finished run has nothing to do but say so again
    assert "4 steps" in run(*PAIR, "-o", "parts", "--steps", 4).stdout


@pytest.mark.parametrize(
    ("option", "inside", "outside"),
    [
        ("hq", HQ, "sam_mask_decoder.transformer"),
        ("decoder", "sam_mask_decoder.", "sam_mask_decoder.hf_"),
        ("all", ("image_encoder.", "sam_", "no_mem_embed", "mask_"), "memory_"),
    ],
)
def test_only_what_was_chosen_learns(run, option, inside, outside):
    result = run(
        *PAIR, "-o", "out", "--steps", 1, "--train", option, "--held-out", 0
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    keys = changed("start.safetensors", "out/weights.safetensors")
    assert keys
    assert all(key.startswith(inside) for key in keys)
    assert not any(key.startswith(outside) for key in keys)


def test_stack_files_with_clips_train_memory(run, tmp_path):
    scene = make_image(np.random.default_rng(3), (96, 96), "nuclei_large")
    frames = [ndimage.shift(scene.labels, (0, t), order=0) for t in range(8)]
    tifffile.imwrite("movie.tif", np.stack(frames).astype(np.float32) ** 0.5)
    np.save(tmp_path / "truth.npy", np.stack(frames))
    result = run(
        "movie.tif", "truth.npy", *COMMON, "-o", "out", "--steps", 2,
        "--clips", "--axes", "TYX", "--held-out", 0.4,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "5 labelled frames to learn from, 3 to measure on" in result.stderr
    assert "mask, on later frames" in result.stdout
    # as the built-in model follows
    assert "moved_1" in (tmp_path / "out" / "log.jsonl").read_text()
    keys = changed("start.safetensors", "out/weights.safetensors")
    assert any(key.startswith("memory_attention.") for key in keys)
    assert not any(key.startswith("image_encoder.") for key in keys)


def test_takes_validation_images_and_one_folder_for_both(run, tmp_path):
    (tmp_path / "both").mkdir()
    for index in range(2):
        for source, name in (
            (f"images/{index}.tif", f"{index}_img.tif"),
            (f"labels/{index}_masks.tif", f"{index}_mask.tif"),
        ):
            (tmp_path / source).rename(tmp_path / "both" / name)
    result = run(
        "both", *COMMON, "-o", "out", "--steps", 1, "--minutes", 5,
        "--validation", "images", "labels", "--learning-rate", "1e-3", "--size", 128,
        "--seed", 5, "--channels", 0, "--threads", torch.get_num_threads(),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "2 labelled frames to learn from, 3 to measure on" in result.stderr


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--size", 100), "not a multiple of 64 from 128 to 128"),
        (("--clips",), "--clips needs labels on 3 consecutive frames"),
        (("--device", "gpu"), "Unknown device 'gpu'"),
        (("-o", "images"), "is not an empty folder"),
        (("--model", "sam2.1_hiera_nano", "--train", "hq"), "no high-quality part"),
        (("--model", "sam3"), "Unknown model 'sam3'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(run, options, words, tmp_path):
    if "--model" in options:
        state = build_small("sam2.1_hiera_nano").model.state_dict()
        save_file(state, "start.safetensors")
    result = run(*PAIR, "-o", "out", *options)
    assert result.exit_code == 1, result.output
    assert words in result.stderr
    assert not (tmp_path / "out/run.json").exists()


def test_another_run_in_the_same_folder_is_refused(run):
    assert run(*PAIR, "-o", "out", "--steps", 1).exit_code == 0
    result = run(*PAIR, "-o", "out", "--steps", 1, "--seed", 3)
    assert result.exit_code == 1
    assert "seed 0, now 3" in result.stderr


def test_loss_falls_on_one_batch(run, tmp_path):
    files = DataFiles(images=tmp_path / "images", labels=tmp_path / "labels")
    wanted = job.FineTuning(
        files=files,
        output=tmp_path / "out",
        model=MODEL,
        weights=tmp_path / "start.safetensors",
        learning_rate=4e-3,
        device="cpu",
    )
    trainer = job._Run(wanted, print).trainer
    trainer.phase.prepare()
    batch = trainer.phase.batches(trainer.mixture, 0)[0]
    losses = []
    for _ in range(10):
        losses.append(trainer._step(batch)["loss"])
        trainer.step_number = 15  # the same corrections every time
    assert losses[-1] < 0.8 * losses[0]
