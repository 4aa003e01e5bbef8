"""This process as a place to train, and images of noise to train on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from melanoma_ray.config import AugmentationConfig, Experiment, ModelConfig, OptimizerConfig
from melanoma_ray.loading.sampling_plan import SamplingPlan
from melanoma_ray.loading.stream import Batch, load_and_augment, plan_blocks
from melanoma_ray.patients import nothing_known
from melanoma_ray.training.loop import TrainingJob

SIDE = 32
NUM_TRAIN, NUM_VAL = 60, 12
EXPERIMENT = Experiment(
    model=ModelConfig(image_side=SIDE, dropout=0.2),
    augmentation=AugmentationConfig(mixup_alpha=0.2),
    optimizer=OptimizerConfig(ema_decay=0.9),
    num_epochs=4,
    global_batch_size=4,
    precision="fp32",
)


class Images:
    """Noise of a brightness that tells the class."""

    def __init__(self) -> None:
        random = np.random.default_rng(0)
        self.target = np.arange(NUM_TRAIN + NUM_VAL) % 3
        noise = random.integers(0, 80, (len(self.target), SIDE, SIDE, 3))
        self.metadata = nothing_known(len(self.target))
        self.pixels = (noise + 70 * self.target[:, None, None, None]).astype(np.uint8)

    def read(self, numbers: np.ndarray) -> np.ndarray:
        return np.asarray(self.pixels[numbers])


class InterruptionError(Exception):
    """Ends a worker as a failure would."""


class LocalBackend:
    """This process as a place to train: the plan's blocks by the stream's own functions, in turn."""

    rank, num_workers, device = 0, 1, torch.device("cpu")

    def __init__(
        self,
        job: TrainingJob,
        directory: Path,
        *,
        images: Images | None = None,
        fail_at_step: int | None = None,
        leaves_at: int = 0,
    ) -> None:
        self.job, self.directory, self.fail_at_step = job, directory, fail_at_step
        self.images = images or Images()
        self.leaves_at = leaves_at
        """Which question whether the node leaves is answered by yes, from 1."""
        self.reports: list[dict[str, Any]] = []
        self.steps_saved: list[int] = []

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        experiment = self.job.experiment
        for block in plan_blocks(self.job.plan, experiment, start_batch=start_batch, num_workers=1):
            rows = {name: block[name].to_numpy() for name in block.column_names}
            loaded = load_and_augment(rows, self.images, experiment.augmentation)
            for start in range(0, len(loaded["batch_index"]), batch_size):
                yield {name: column[start : start + batch_size] for name, column in loaded.items()}

    def latest(self) -> Path | None:
        return self.directory if (self.directory / "progress.json").exists() else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        assert progress is not None
        self.reports.append(metrics)
        self.steps_saved.append(json.loads((progress / "progress.json").read_text())["step"])
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.move(progress, self.directory)
        if self.steps_saved[-1] == self.fail_at_step:
            raise InterruptionError

    def is_leaving(self) -> bool:
        self.leaves_at -= 1
        return self.leaves_at == 0


def build_job(experiment: Experiment, checkpoint_every_s: float | None = None) -> TrainingJob:
    plan = SamplingPlan(
        num_train=NUM_TRAIN,
        num_val=NUM_VAL,
        global_batch_size=experiment.global_batch_size,
        num_epochs=experiment.num_epochs,
        seed=0,
    )
    return TrainingJob(
        experiment=experiment, plan=plan, num_train_images=(20, 20, 20), checkpoint_every_s=checkpoint_every_s
    )
