"""Compiled parts: the same results, in time or not at all, never beside windows."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.errors import CompileError, DeviceError
from napari_hqsam2.predictors.compilation import PARTS, compile_model
from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_hqsam2.modeling.hqsam2 import HqSam2

    Video = npt.NDArray[np.uint8]

HEAVY = [
    "ImageEncoder.forward",
    "MemoryAttention.look_around",
    "MemoryAttention.forward",
    "MaskDecoder.forward",
    "MemoryEncoder.forward",
]
CODE = """
import json, logging, sys
import numpy as np
import torch
from napari_hqsam2 import FramePrompts, PointPrompt, segment_stack
from napari_hqsam2.build import build_sam2_video_predictor
from napari_hqsam2.predictors.compilation import compile_model
from torch._dynamo.utils import counters

torch.set_num_threads(1)
logging.basicConfig(stream=sys.stderr, format="%(message)s")
torch.manual_seed(1)
# one block of a kind: compiling takes minutes as it is
blocks = ("stages=[1,1,1,1]", "global_att_blocks=[2]")
eager, compiled = (
    build_sam2_video_predictor(
        "sam2.1_hq_hiera_nano",
        device="cpu",
        hydra_overrides_extra=[f"model.image_encoder.trunk.{one}" for one in blocks],
        resolution=64,
    )
    for _ in range(2)
)
head = eager.model.sam_mask_decoder.pred_obj_score_head
torch.nn.init.constant_(head.layers[2].bias, 5.0)
compiled.load_state_dict(eager.state_dict())
compile_model(compiled.model, time_limit=float(sys.argv[1]))
stack = np.random.default_rng(5).integers(0, 255, (6, 48, 80), dtype=np.uint8)
pixels, graphs = 0, []
for count in (1, 2, 3, 5):
    prompts = [
        FramePrompts((0,), n + 1, (PointPrompt(5.0 + 8 * n, 9.0 + 13 * n),))
        for n in range(count)
    ]
    expected, labels = (
        segment_stack(stack, prompts, axes="TYX", model=model)
        for model in (eager, compiled)
    )
    assert set(np.unique(expected)) > {0}
    pixels += np.count_nonzero(labels != expected)
    graphs.append(counters["stats"]["unique_graphs"])
print(json.dumps({"different": int(pixels), "graphs": graphs}))
"""


def track(predictor: SAM2VideoPredictor, video: Video, count: int = 1) -> torch.Tensor:
    """(frames, objects, 1, h, w) logits."""
    session = predictor.init_state(video[:4])
    for obj_id in range(count):
        place = [[10 + 15 * obj_id, 20]]
        predictor.add_new_points_or_box(session, 0, obj_id, place, [1])
    results = predictor.propagate(session)
    return torch.stack([result.low_res for result in results])


class Compiler:
    """Gives every method back; notes what it is called for, and what is computed."""

    def __init__(self) -> None:
        self.methods: dict[str, bool] = {}
        """Whether they are compiled for any size, by name."""
        self.calls: list[str] = []

    def __call__(
        self, method: Callable[..., Any], is_dynamic: bool
    ) -> Callable[..., Any]:
        name = method.__qualname__
        self.methods[name] = is_dynamic

        def call(*args: Any) -> Any:
            self.calls.append(name)
            return self.run(method, *args)

        return call

    def run(self, method: Callable[..., Any], *args: Any) -> Any:
        """Compute."""
        return method(*args)

    def taken(self) -> list[str]:
        """Names of the compiled methods that were called since the last question."""
        calls, self.calls = self.calls, []
        return calls


def end_time(model: HqSam2) -> None:
    """Let the compiler begin nothing new."""
    for name, method in PARTS:
        getattr(getattr(model, name), method).budget.left = 0.0


@pytest.fixture
def own(predictor: SAM2VideoPredictor) -> SAM2VideoPredictor:
    """A predictor whose model may be compiled."""
    return SAM2VideoPredictor(deepcopy(predictor.model), predictor.config)


def test_all_heavy_parts_are_compiled_and_nothing_else_changes(
    own: SAM2VideoPredictor, video: Video
) -> None:
    expected = track(own, video)
    names = list(own.state_dict())
    compiler = Compiler()
    compile_model(own.model, compiler=compiler)
    assert list(compiler.methods) == HEAVY
    assert [name for name, any_size in compiler.methods.items() if not any_size] == [
        "ImageEncoder.forward"
    ]
    assert compiler.taken() == []
    assert torch.equal(track(own, video), expected)
    assert set(compiler.taken()) == set(HEAVY)
    assert list(own.state_dict()) == names
    again = Compiler()
    compile_model(own.model, compiler=again)
    assert again.methods == {}


def test_any_number_of_objects_is_one_kind(
    own: SAM2VideoPredictor, video: Video
) -> None:
    other = SAM2VideoPredictor(deepcopy(own.model), own.config)
    ended, free = Compiler(), Compiler()
    compile_model(own.model, compiler=ended)
    compile_model(other.model, compiler=free)
    track(own, video, 2)
    end_time(own.model)
    ended.taken()
    for count, is_known in ((5, True), (3, True), (1, False)):
        track(own, video, count)
        track(other, video, count)
        assert (ended.taken() == free.taken()) == is_known


def test_every_resolution_is_one_kind_for_the_encoder(
    own: SAM2VideoPredictor,
) -> None:
    compiler = Compiler()
    compile_model(own.model, compiler=compiler)
    with torch.inference_mode():
        own.model.encode_image(torch.zeros(1, 3, 64, 64))
        end_time(own.model)
        for side, calls in ((64, 2), (96, 2), (64, 3)):
            own.model.encode_image(torch.zeros(1, 3, side, side))
            assert len(compiler.calls) == calls


def test_gradients_are_computed_without(own: SAM2VideoPredictor) -> None:
    compiler = Compiler()
    compile_model(own.model, compiler=compiler)
    features = own.model.encode_image(torch.zeros(1, 3, 64, 64))
    assert features.embedding.requires_grad
    assert compiler.calls == []


def test_copies_compute_with_their_own_weights(own: SAM2VideoPredictor) -> None:
    compile_model(own.model, compiler=Compiler())
    other = deepcopy(own.model)
    for parameter in other.image_encoder.parameters():
        torch.nn.init.zeros_(parameter)
    with torch.inference_mode():
        image = torch.ones(1, 3, 64, 64)
        assert other.encode_image(image).embedding.count_nonzero() == 0
        assert own.model.encode_image(image).embedding.count_nonzero() > 0


class Failing(Compiler):
    """Fails at one method."""

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__()
        self.name, self.error = name, error

    def run(self, method: Callable[..., Any], *args: Any) -> Any:
        if method.__qualname__ == self.name:
            raise self.error
        return super().run(method, *args)


def test_what_fails_is_computed_without(
    own: SAM2VideoPredictor, video: Video, caplog: pytest.LogCaptureFixture
) -> None:
    expected = track(own, video)
    error = AssertionError("no such operator\nand more")
    compiler = Failing("MemoryAttention.forward", error)
    compile_model(own.model, compiler=compiler)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert torch.equal(track(own, video), expected)
    (record,) = caplog.records
    assert record.getMessage() == (
        "MemoryAttention.forward could not be compiled (AssertionError: no such "
        "operator); what is not compiled yet is computed without."
    )
    compiler.taken()
    track(own, video)
    # what came before goes on as it is
    assert set(compiler.taken()) == {*HEAVY} - {"MemoryAttention.forward"}


def test_running_out_of_memory_is_no_failure_of_the_compiler(
    own: SAM2VideoPredictor, video: Video
) -> None:
    compiler = Failing("ImageEncoder.forward", torch.OutOfMemoryError("full"))
    compile_model(own.model, compiler=compiler)
    with pytest.raises(DeviceError, match="not enough memory"):
        track(own, video)


def test_nothing_new_is_compiled_when_the_time_is_up(
    own: SAM2VideoPredictor, video: Video, caplog: pytest.LogCaptureFixture
) -> None:
    expected = track(own, video)
    compiler = Compiler()
    compile_model(own.model, compiler=compiler, time_limit=1e-9)
    with caplog.at_level(logging.WARNING):
        assert torch.equal(track(own, video), expected)
    assert set(compiler.taken()) == {"ImageEncoder.forward"}
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "ImageEncoder.forward was compiled when the time was up; what is not compiled"
    )


def test_parts_are_those_of_the_model(predictor: SAM2VideoPredictor) -> None:
    for name, method in PARTS:
        assert callable(getattr(getattr(predictor.model, name), method))


@pytest.mark.gui
@pytest.mark.usefixtures("qapp")
def test_nothing_is_compiled_beside_windows(predictor: SAM2VideoPredictor) -> None:
    with pytest.raises(CompileError, match="napari-hqsam2 segment --compile"):
        compile_model(predictor.model)
    with pytest.raises(CompileError):
        build_sam2_video_predictor(
            "sam2.1_hq_hiera_nano", device="cpu", vos_optimized=True
        )


def _run(folder: Path, time_limit: float, **environment: str) -> tuple[Any, str]:
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", "-c", CODE, str(time_limit)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(folder)} | environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.mark.slow
@pytest.mark.needs_cxx
@pytest.mark.timeout(1800)
def test_compiled_and_eager_give_the_same_labels(tmp_path: Path) -> None:
    found, log = _run(tmp_path, 1500)
    assert "could not be compiled" not in log
    # of 92160 pixels under random weights; sums are taken in another order
    assert found["different"] <= 20
    one, two, three, five = found["graphs"]
    assert len(HEAVY) <= one < two
    assert two == three == five


@pytest.mark.slow
def test_without_a_compiler_all_is_as_ever(tmp_path: Path) -> None:
    missing = {"CXX": str(tmp_path / "missing"), "PATH": str(tmp_path)}
    found, log = _run(tmp_path, 1500, **missing)
    assert found["different"] == 0
    assert log.count("ImageEncoder.forward could not be compiled") == 1
    assert log.count("could not be compiled") == 1
