"""A whole fine-tuning: files in, weights and scores out, resumable at any step."""

from __future__ import annotations

import json
import signal
import threading
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from napari_hqsam2.build import build_sam2_video_predictor, model_name
from napari_hqsam2.errors import TrainingError
from napari_hqsam2.files import atomic_path
from napari_hqsam2.training.config import (
    MOVED_MASKS,
    Budget,
    Optimisation,
    PhaseConfig,
    RunConfig,
)
from napari_hqsam2.training.crops import CropSettings
from napari_hqsam2.training.data import BatchShape
from napari_hqsam2.training.fine_tuning.measuring import measure
from napari_hqsam2.training.fine_tuning.phase import (
    FineTuningPhase,
    FineTuningPlan,
    Trained,
    trained_parts,
)
from napari_hqsam2.training.fine_tuning.stacks import FileSource
from napari_hqsam2.training.fine_tuning.views import DeckPlan
from napari_hqsam2.training.losses import LossWeights
from napari_hqsam2.training.sources import Mixture
from napari_hqsam2.training.trainer import Trainer
from napari_hqsam2.weights.cache import file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from napari_hqsam2.predictors.video_predictor import SAM2VideoPredictor
    from napari_hqsam2.training.fine_tuning.data_files import DataFiles
    from napari_hqsam2.training.fine_tuning.measuring import Scores
    from napari_hqsam2.training.trainer import Watcher

DEFAULT_STEPS = 300
RUN_FILE = "run.json"
CLIP_LENGTH = 3
SIZE_STEP = 64
LEARNING_RATE, LEARNING_RATE_OF_ALL = 3e-4, 1e-4
TRUNK_SCALE = 0.2
"""Learning rate of the image encoder, relative to the rest."""


@dataclass(frozen=True, kw_only=True)
class FineTuning:
    """Files and settings of a fine-tuning."""

    files: DataFiles
    output: Path
    """Folder for weights, scores, log and checkpoint."""
    model: str
    weights: Path
    """File to start from."""
    train: str | None = None
    """hq, decoder, hq+decoder or all; None takes hq+decoder, or what there is of it."""
    clips: bool = False
    """Also train what follows objects, on consecutive frames."""
    steps: int | None = None
    minutes: float | None = None
    learning_rate: float | None = None
    size: int | None = None
    """Side of the crops; None takes the model's own."""
    device: str = "auto"

    def run(self, say: Callable[[str], None], watch: Watcher) -> Outcome:
        """Train, or go on where an earlier run of the same settings was stopped.

        Ctrl-C ends the training after the step at hand, and saves.

        Parameters
        ----------
        say : callable
            Takes a line about what is being done.
        watch : callable
            Sees every step.

        Raises
        ------
        HqSam2Error
            Files or settings do not fit; nothing is written.
        """
        return _Run(self, say).finish(watch)


@dataclass
class Outcome:
    """What came out."""

    weights: Path
    steps: int
    minutes: float
    before: Scores
    after: Scores = field(default_factory=dict)
    """Empty if the training was stopped early, or nothing was held out."""
    interrupted: bool = False


@contextmanager
def stop_on_interrupt() -> Iterator[Callable[[], bool]]:
    """Tell whether Ctrl-C was pressed, instead of ending at once; the second time ends.

    In another thread than the main one, Ctrl-C stays as it is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    pressed = []
    before = signal.getsignal(signal.SIGINT)

    def press(*_: object) -> None:
        pressed.append(True)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, press)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)


class _Run:
    """A fine-tuning under way."""

    def __init__(self, job: FineTuning, say: Callable[[str], None]) -> None:
        self.job = job
        self.say = say
        self._check_folder()
        self.predictor = self._load_model()
        self.model = self.predictor.model
        self.trained = trained_parts(
            None if job.train is None else Trained(job.train), self.model, self.name
        )
        self.data = job.files.read(say)
        self.source = FileSource(self.data.parts.train)
        self._check_clips()
        if self.size < self.model.image_size:
            say(
                f"Crops of {self.size} px are a part of what the model sees in use, "
                f"{self.model.image_size} px: masks from one click may get worse"
            )
        self.identity = self._identity()
        self.state = self._state()
        self.trainer = self._trainer()

    @property
    def name(self) -> str:
        """Short name of the model."""
        return model_name(self.job.model)

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return self.job.size or self.model.image_size

    def _check_folder(self) -> None:
        """Refuse a folder that holds something else."""
        folder = self.job.output
        is_run = (folder / RUN_FILE).is_file()
        is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
        if not (is_run or is_free):
            msg = (
                f"{folder} is not an empty folder, and holds no earlier run of this "
                "command. Name another one."
            )
            raise TrainingError(msg)

    def _load_model(self) -> SAM2VideoPredictor:
        job = self.job
        try:
            predictor = build_sam2_video_predictor(job.model, job.weights, job.device)
        except ValueError as error:
            msg = f"The model cannot be loaded: {error}"
            raise TrainingError(msg) from error
        most = predictor.model.image_size
        if job.size is not None and (
            job.size % SIZE_STEP or not SIZE_STEP * 2 <= job.size <= most
        ):
            msg = (
                f"--size {job.size} is not a multiple of {SIZE_STEP} from "
                f"{SIZE_STEP * 2} to {most}, the input side of {job.model}."
            )
            raise TrainingError(msg)
        return predictor

    def _check_clips(self) -> None:
        if self.job.clips and not self.source.has_clips(CLIP_LENGTH):
            msg = (
                f"--clips needs labels on {CLIP_LENGTH} consecutive frames of a stack; "
                "there are none to learn from. Leave it out, or label more frames."
            )
            raise TrainingError(msg)

    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to go on."""
        job = self.job
        return {
            "model": self.name,
            "base_sha256": file_sha256(job.weights),
            "data": self.data.fingerprint,
            "train": str(self.trained),
            "clips": job.clips,
            "learning_rate": self.optimisation.learning_rate,
            "size": self.size,
            "seed": job.files.seed,
            "held_out": job.files.share,
            "channels": job.files.channels and list(job.files.channels),
        }

    def _state(self) -> dict[str, Any]:
        """What is known of the run: identity and scores so far."""
        path = self.job.output / RUN_FILE
        if not path.is_file():
            return {"identity": self.identity, "before": None, "after": None}
        try:
            state: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = state["identity"]
            differing = [k for k, v in self.identity.items() if found.get(k) != v]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            msg = f"{path} is damaged ({error!r}). Name another output folder."
            raise TrainingError(msg) from error
        if differing:
            lines = (
                f"{k} {found.get(k)!r}, now {self.identity[k]!r}" for k in differing
            )
            msg = (
                f"{self.job.output} holds a run with other settings or images: "
                f"{'; '.join(lines)}. Give the same ones to go on, or name another "
                "output folder."
            )
            raise TrainingError(msg)
        return state

    @property
    def budget(self) -> Budget:
        """How long to train."""
        job = self.job
        is_free = job.steps is None and job.minutes is None
        return Budget(DEFAULT_STEPS if is_free else job.steps, job.minutes)

    @property
    def optimisation(self) -> Optimisation:
        """How parameters move."""
        is_all = self.trained is Trained.all
        usual = LEARNING_RATE_OF_ALL if is_all else LEARNING_RATE
        rate = self.job.learning_rate or usual
        return Optimisation(
            rate, trunk_scale=TRUNK_SCALE, warmup=10, weight_decay=0.0, ema=0.99
        )

    def _trainer(self) -> Trainer:
        job, model = self.job, self.model
        config = PhaseConfig(
            "fine_tuning",
            self.budget,
            (),
            self.optimisation,
            # objects of stills are there, which teaches nothing about presence
            LossWeights(presence=0.25 if job.clips else 0.0),
            single_round_steps=0,
            lengths=(CLIP_LENGTH,),
            moved_masks=MOVED_MASKS if self.predictor.config.moves_masks else 0.0,
        )
        crops = 4 if self.size <= 512 else 2
        plan = FineTuningPlan(
            self.trained,
            BatchShape(self.size, crops, 6),
            BatchShape(self.size, 1, 4) if job.clips else None,
            CropSettings((0.8, 1.5), model_size=model.image_size, keeps_look=True),
            DeckPlan()
            if self.trained is Trained.all
            else DeckPlan.for_features(model, self.size),
        )
        run = RunConfig(
            data=(job.files.images,),
            out=job.output,
            seed=job.files.seed,
            model=job.model,
            bf16=model.device.type == "cuda",
            workers=0,
            log_every=10,
        )
        phase = FineTuningPhase(model, config, plan)
        return Trainer(phase, run, Mixture((self.source,)), folder=job.output)

    def finish(self, watch: Watcher) -> Outcome:
        """Measure, train, measure again."""
        trainer, state = self.trainer, self.state
        if state["before"] is None:
            self.say("Measuring the model as it is")
            state["before"] = self._measure()
            self._write_state()
        trainer.resume()
        interrupted = trainer.progress < 1 and self._train(watch)
        if interrupted:
            return self._outcome(interrupted=True)
        if state["after"] is None:
            self.say("Measuring the model after training")
            trainer.use_average()
            state["after"] = self._measure()
            trainer.metadata = self._metadata()
            trainer.write_weights()
            self._write_state()
        return self._outcome()

    def _train(self, watch: Watcher) -> bool:
        """Train; whether Ctrl-C ended it early."""
        self.state["after"] = None
        self._write_state()
        self.trainer.metadata = self._metadata()
        with stop_on_interrupt() as is_stopped:

            def watch_and_stop(step: int, share: float, loss: Tensor) -> bool:
                return watch(step, share, loss) or is_stopped()

            self.trainer.train(watch=watch_and_stop)
        return self.trainer.progress < 1

    def _measure(self) -> Scores:
        places = self.data.parts.validation
        return measure(self.predictor, places, clips=self.job.clips)

    def _metadata(self) -> dict[str, str]:
        """What the weights file says about itself."""
        content = {
            "software": f"napari-hqsam2 {version('napari-hqsam2')}",
            **self.identity,
            "steps": self.trainer.step_number,
            "scores_before": self.state["before"],
            "scores_after": self.state["after"],
        }
        return {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in content.items()
        }

    def _write_state(self) -> None:
        self.job.output.mkdir(parents=True, exist_ok=True)
        state = self.state | {"budget": asdict(self.budget)}
        with atomic_path(self.job.output / RUN_FILE) as temporary:
            temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")

    def _outcome(self, *, interrupted: bool = False) -> Outcome:
        trainer, state = self.trainer, self.state
        return Outcome(
            trainer.weights,
            trainer.step_number,
            trainer.minutes,
            state["before"],
            state["after"] or {},
            interrupted=interrupted,
        )
