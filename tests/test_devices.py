"""The same labels on every device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_hqsam2 import BoxPrompt, FramePrompts, PointPrompt, segment_stack

ROOT = Path(__file__).resolve().parents[1]
SAMPLE = ROOT / "src" / "napari_hqsam2" / "plugin" / "data" / "nuclei_tyx.ome.tif"
FRAMES = 4
PROMPTS = (
    FramePrompts((0,), obj_id=1, points=(PointPrompt(y=76, x=31),)),
    FramePrompts((0,), obj_id=2, box=BoxPrompt(y0=87, x0=36, y1=116, x1=58)),
)


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


@pytest.mark.needs_cuda
def test_labels_on_cuda_are_those_of_the_cpu() -> None:
    stack = tifffile.imread(SAMPLE)[:FRAMES]
    on_cpu, on_cuda = (
        segment_stack(stack, PROMPTS, axes="TYX", device=device)
        for device in ("cpu", "cuda")
    )
    ious = [
        _iou(on_cpu[frame] == prompt.obj_id, on_cuda[frame] == prompt.obj_id)
        for frame in range(FRAMES)
        for prompt in PROMPTS
    ]
    assert np.median(ious) >= 0.98
    assert min(ious) >= 0.9
