"""The loop without Ray: what ends a run, what is saved within an epoch, and what it goes on with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from melanoma_ray.config import AugmentationConfig, Experiment, LossConfig, ModelConfig, OptimizerConfig
from melanoma_ray.loading.sampling_plan import SamplingPlan
from melanoma_ray.loading.stream import load_and_augment, plan_blocks
from melanoma_ray.patients import nothing_known
from melanoma_ray.training.backend import Batch
from melanoma_ray.training.loop import TrainingJob, Worker

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
        return self.pixels[numbers]


class InterruptionError(Exception):
    """Ends a worker as a failure would."""


class LocalBackend:
    """This process as a place to train: the plan's blocks by the stream's own functions, in turn."""

    rank, num_workers, device = 0, 1, torch.device("cpu")

    def __init__(
        self, job: TrainingJob, directory: Path, *, fail_at_step: int | None = None, leaves_at: int = 0
    ) -> None:
        self.job, self.directory, self.fail_at_step = job, directory, fail_at_step
        self.leaves_at = leaves_at
        """Which question whether the node leaves is answered by yes, from 1."""
        self.reports: list[dict[str, Any]] = []
        self.steps_saved: list[int] = []

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        images, experiment = Images(), self.job.experiment
        for block in plan_blocks(self.job.plan, experiment, start_batch=start_batch, num_workers=1):
            rows = {name: block[name].to_numpy() for name in block.column_names}
            loaded = load_and_augment(rows, images, experiment.augmentation)
            for start in range(0, len(loaded["batch_index"]), batch_size):
                yield {name: column[start : start + batch_size] for name, column in loaded.items()}

    def latest(self) -> Path | None:
        return self.directory if (self.directory / "progress.json").exists() else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
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


def test_a_run_without_disturbance_reports_each_epoch_and_learns(tmp_path: Path) -> None:
    port = LocalBackend(build_job(EXPERIMENT), tmp_path / "run")
    history = Worker(port.job, port).train()
    assert port.steps_saved == [15, 30, 45, 60]
    assert [report["epoch"] for report in port.reports] == [1, 2, 3, 4]
    assert history[-1].val_loss < history[0].val_loss


@pytest.mark.parametrize("fail_at_step", [10, 20, 30])
def test_an_interruption_within_an_epoch_leaves_no_trace(tmp_path: Path, fail_at_step: int) -> None:
    alone = LocalBackend(build_job(EXPERIMENT), tmp_path / "alone")
    expected = Worker(alone.job, alone).train()
    job = build_job(EXPERIMENT, checkpoint_every_s=1e-9)
    first = LocalBackend(job, tmp_path / "run", fail_at_step=fail_at_step)
    with pytest.raises(InterruptionError):
        Worker(job, first).train()
    second = LocalBackend(job, tmp_path / "run")
    found = Worker(job, second).train()
    assert first.steps_saved + second.steps_saved == [10, 15, 20, 30, 30, 40, 45, 50, 60, 60]
    for ours, theirs in zip(found, expected, strict=True):
        timeless = {"images_per_s": 0, "waiting_fraction": 0, "first_batch_s": 0, "ended_at": 0}
        assert replace(ours, **timeless) == replace(theirs, **timeless)
    for name in ("progress.safetensors", "model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()


def test_a_node_that_leaves_is_reason_to_save_even_where_checkpoints_within_epochs_are_off(tmp_path: Path) -> None:
    port = LocalBackend(build_job(EXPERIMENT), tmp_path / "run", leaves_at=2)
    Worker(port.job, port).train()
    assert port.steps_saved == [15, 20, 30, 45, 60]


def test_patience_ends_a_run_that_gets_no_better(tmp_path: Path) -> None:
    still = replace(EXPERIMENT, optimizer=OptimizerConfig(learning_rate=1e-12), num_epochs=20, patience_epochs=2)
    port = LocalBackend(build_job(still), tmp_path / "run")
    assert len(Worker(port.job, port).train()) == 3
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["batch_index"] == port.job.plan.num_batches


def test_a_step_s_loss_is_that_of_the_shifted_logits(tmp_path: Path) -> None:
    plain = replace(EXPERIMENT, model=ModelConfig(image_side=SIDE, dropout=0.0), augmentation=AugmentationConfig())
    shifted = replace(plain, loss=LossConfig(logit_adjustment=1.0))
    job = replace(build_job(shifted), num_train_images=(90, 9, 1))
    worker = Worker(job, LocalBackend(job, tmp_path / "run"))
    pixels, target = torch.from_numpy(Images().pixels[:6]), torch.from_numpy(Images().target[:6])
    metadata = torch.from_numpy(nothing_known(6))
    with torch.inference_mode():
        logits = worker.state.classifier(pixels) + torch.log(torch.tensor([0.9, 0.09, 0.01]))
        expected = torch.nn.functional.cross_entropy(logits, target, reduction="sum")
    assert worker.stepper.train(pixels, metadata, target, 1).loss_sum == pytest.approx(float(expected), rel=1e-5)
