"""One trial: a whole training run, by the same loop as training itself.

Without workers it runs in the trial's own process, which starts in two seconds. With workers it runs in a worker group
of Ray Train, which starts in half a minute and can use several GPUs.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from ray import tune
from ray.train import ScalingConfig
from ray.tune.integration.ray_train import TuneReportCallback

from melanoma_ray import storage
from melanoma_ray.cluster.process import prepare_process
from melanoma_ray.cluster.resources import assigned_device, usable_cpus
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.loading.stream import Batch, ImageSource, build_stream
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.settings import with_setting
from melanoma_ray.training.backend import PREFETCHED_BATCHES
from melanoma_ray.training.loop import TrainingJob, Worker
from melanoma_ray.training.trainer import build_job, build_run_config, fit


class TrialBackend:
    """The backend of a trial that trains in its own process."""

    def __init__(self, job: TrainingJob, images: ImageSource) -> None:
        """Be the only worker, on a GPU if the trial has one.

        Args:
            job: The training to do.
            images: Images of the train and validation splits.
        """
        self.rank, self.num_workers = 0, 1
        self.device = torch.device(assigned_device())
        self._job, self._images = job, images

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        """Yield the batches of the plan from one on."""
        job = self._job
        stream = build_stream(job.plan, self._images, job.experiment, start_batch=start_batch, num_workers=1)
        yield from stream.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES)

    def latest(self) -> Path | None:
        """Return the trial's newest progress; none: the trial is at its start."""
        checkpoint = tune.get_checkpoint()
        return Path(checkpoint.to_directory()) if checkpoint else None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Report to Ray Tune, which may stop the trial here."""
        checkpoint = tune.Checkpoint.from_directory(progress) if progress else None
        try:
            tune.report(metrics, checkpoint=checkpoint)
        finally:
            shutil.rmtree(progress or "", ignore_errors=True)

    def is_leaving(self) -> bool:
        """Return False: a trial whose node is removed is restarted by Ray Tune."""
        return False


def apply_settings(experiment: Experiment, settings: Mapping[str, object]) -> Experiment:
    """Return an experiment with a trial's settings.

    Args:
        experiment: Experiment that the sweep started from.
        settings: Settings of the trial, by their dotted names.
    """
    for name, value in settings.items():
        experiment = with_setting(experiment, name, value)
    return experiment


def run_alone(
    settings: dict[str, Any],
    *,
    experiment: Experiment,
    dataset: PreparedDataset,
    images: ImageSource,
    num_threads: int,
) -> None:
    """Train a trial in this process.

    Args:
        settings: Settings of the trial, by their dotted names.
        experiment: Experiment that the sweep started from.
        dataset: Prepared dataset.
        images: Images of the train and validation splits.
        num_threads: Number of threads of the network's kernels.
    """
    prepare_process(num_threads)
    job = build_job(apply_settings(experiment, settings), dataset)
    Worker(job, TrialBackend(job, images)).train()


def run_with_workers(
    settings: dict[str, Any], *, experiment: Experiment, dataset: PreparedDataset, scaling: ScalingConfig, runs: str
) -> None:
    """Train a trial with a worker group of its own.

    Args:
        settings: Settings of the trial, by their dotted names.
        experiment: Experiment that the sweep started from.
        dataset: Prepared dataset.
        scaling: Ray's number of workers, CPUs and GPUs.
        runs: Directory for the trials' runs.
    """
    name = tune.get_context().get_trial_id()
    run_config = build_run_config(runs, name, max_failures=1, callbacks=[TuneReportCallback()])
    trial = apply_settings(experiment, settings)
    RunDirectory(uri=storage.join(runs, name)).claim(trial, dataset)
    fit(build_job(trial, dataset), dataset, scaling=scaling, run_config=run_config)


def threads_per_trial(num_concurrent: int) -> int:
    """Return the number of threads of a trial's network with which concurrent trials share a machine's cores."""
    return max(1, usable_cpus() // max(1, num_concurrent))
