"""One trial: a whole training run, by the same loop as training itself.

Without workers it runs in the trial's own process, which starts in two seconds. With workers it runs in a worker group
of Ray Train, which starts in half a minute and can use several GPUs. Both go on from the progress in the trial's
directory, whatever ended the trial's process before.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from optuna.trial import FrozenTrial, TrialState
from ray import tune
from ray.train import ScalingConfig
from ray.tune.integration.ray_train import TuneReportCallback
from torch import nn

from melanoma_ray import storage
from melanoma_ray.cluster.process import prepare_process
from melanoma_ray.cluster.resources import assigned_device, usable_cpus
from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.loading.stream import Batch, ImageSource, build_stream
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.progress import Progress, local_progress, read_progress
from melanoma_ray.runs.tracking import EndStatus, TrackingConfig, end_tracking
from melanoma_ray.settings import to_dict, with_settings
from melanoma_ray.training.backend import PREFETCHED_BATCHES
from melanoma_ray.training.loop import TrainingJob, Worker
from melanoma_ray.training.trainer import build_job, build_run_config, fit
from melanoma_ray.tuning.directory import LATENCIES, LATENCY, TrialDirectory
from melanoma_ray.tuning.study import NAME, SETTINGS, latency_of

_STATUS: dict[TrialState, EndStatus] = {
    TrialState.COMPLETE: "FINISHED",
    TrialState.PRUNED: "KILLED",
    TrialState.FAIL: "FAILED",
}
"""MLflow's word for how a trial has ended."""
_UNTIMED_PASSES = 3
_TIMED_PASSES = 23
"""Passes of an image in all, of which the first few warm up and aren't counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrialContext:
    """What all trials of a sweep share, besides the data."""

    experiment: Experiment
    """Experiment that the sweep started from."""
    uri: str
    """Directory of the sweep."""
    metric: str
    """Field of ``EpochRecord`` whose largest value is the best."""
    num_threads: int
    """Number of threads of the network's kernels, in trials without workers."""
    scaling: ScalingConfig | None
    """Ray's number of workers, CPUs and GPUs; none or 0 workers: each trial trains in its own process."""
    mlflow_uri: str | None = None
    """MLflow tracking server or file; none: MLflow isn't used."""
    has_latency: bool = False
    """Whether the time of an image is measured."""
    max_failures: int = 1
    """Number of failures of a trial from which it goes on, 0 or more."""

    @property
    def has_workers(self) -> bool:
        """Whether trials have workers of their own."""
        return self.scaling is not None and self.scaling.max_workers > 0

    def directory(self, name: str) -> TrialDirectory:
        """Return the directory of a trial by its name."""
        return TrialDirectory.of(self.uri, name, has_workers=self.has_workers, metric=self.metric)

    def tracking(self, directory: TrialDirectory) -> TrackingConfig:
        """Return where a trial's curves are logged: in MLflow below the run of the sweep."""
        return TrackingConfig(run_uri=directory.uri, mlflow_uri=self.mlflow_uri, parent_uri=self.uri)

    def end_tracking(self, trial: FrozenTrial) -> bool:
        """Log what is missing of a trial that has ended, and to MLflow how it has ended, if it was begun at all.

        Its last epoch is always missing: Ray Tune ends the trial's function when it reports that.

        Returns:
            Whether all of it could be told.
        """
        try:
            experiment = with_settings(self.experiment, trial.user_attrs[SETTINGS])
        except ConfigError:  # its settings contradict each other, so it never ran
            return True
        directory = self.directory(trial.user_attrs[NAME])
        newest = directory.newest()
        progress = Progress() if newest is None else read_progress(newest)
        latency = latency_of(trial)
        return end_tracking(
            self.tracking(directory),
            experiment,
            progress.steps,
            progress.history,
            status=_STATUS[trial.state],
            figures={} if latency is None else {"latency_ms": latency},
        )


class TrialBackend:
    """The backend of a trial that trains in its own process."""

    def __init__(self, job: TrainingJob, images: ImageSource, directory: TrialDirectory) -> None:
        """Be the only worker, on a GPU if the trial has one.

        Args:
            job: The training to do.
            images: Images of the train and validation splits.
            directory: Directory of the trial.
        """
        self.rank, self.num_workers = 0, 1
        self.device = torch.device(assigned_device())
        self._job, self._images, self._directory = job, images, directory
        self.copies = ExitStack()
        """Local copies of progress, to be closed when it has been restored."""

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        """Yield the batches of the plan from one on."""
        job = self._job
        stream = build_stream(job.plan, self._images, job.experiment, start_batch=start_batch, num_workers=1)
        yield from stream.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES)

    def latest(self) -> Path | None:
        """Return the trial's newest progress; none: the trial is at its start."""
        newest = self._directory.newest()
        return None if newest is None else self.copies.enter_context(local_progress(newest))

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Keep the progress, and report to Ray Tune, which may stop the trial here."""
        try:
            if progress is not None:
                self._directory.save(progress)
            tune.report(metrics)
        finally:
            shutil.rmtree(progress or "", ignore_errors=True)

    def is_leaving(self) -> bool:
        """Return False: a trial whose node is removed is restarted by Ray Tune."""
        return False


def run_alone(told: dict[str, Any], *, context: TrialContext, dataset: PreparedDataset, images: ImageSource) -> None:
    """Train a trial in this process.

    Args:
        told: The trial's ``Proposal`` as a dictionary.
        context: What all trials share.
        dataset: Prepared dataset.
        images: Images of the train and validation splits.
    """
    prepare_process(context.num_threads)
    _follow_another_trial()
    directory = context.directory(told["name"])
    job = _build_job(told, context, dataset, directory)
    _keep_latency(job, context, directory)
    backend = TrialBackend(job, images, directory)
    with backend.copies:
        worker = Worker(job, backend)
    worker.train()


def _follow_another_trial() -> None:
    """Give back what an earlier trial of this process has left, and give this one time to end before the next.

    Ray Tune waits two seconds for it, and takes the next trial, which has done nothing, for failed if it is late.
    """
    os.environ.setdefault("TUNE_FUNCTION_THREAD_TIMEOUT_S", "120")
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()  # another trial may share the GPU


def run_with_workers(told: dict[str, Any], *, context: TrialContext, dataset: PreparedDataset) -> None:
    """Train a trial with a worker group of its own.

    Args:
        told: The trial's ``Proposal`` as a dictionary.
        context: What all trials share.
        dataset: Prepared dataset.
    """
    assert context.scaling is not None
    directory = context.directory(told["name"])
    parent, name = directory.uri.rsplit("/", 1)
    # The workers of a lost node are started again once; what fails more often is Ray Tune's to start again.
    run_config = build_run_config(
        parent,
        name,
        max_failures=min(1, context.max_failures),
        callbacks=[TuneReportCallback()],
        best_by=context.metric,
    )
    job = _build_job(told, context, dataset, directory)
    RunDirectory(uri=directory.uri).claim(job.experiment, dataset)
    _keep_latency(job, context, directory)
    fit(job, dataset, scaling=context.scaling, run_config=run_config)


def _build_job(
    told: dict[str, Any], context: TrialContext, dataset: PreparedDataset, directory: TrialDirectory
) -> TrainingJob:
    job = build_job(with_settings(context.experiment, told["settings"]), dataset)
    return replace(
        job, starts_from=told["starts_from"], last_epoch=told["last_epoch"], tracking=context.tracking(directory)
    )


def _keep_latency(job: TrainingJob, context: TrialContext, directory: TrialDirectory) -> None:
    """Measure the time of an image on this process's CPU, if it is searched for and not known yet, and keep it.

    Trials with the same network have the same time: that of the first of them that was measured.
    """
    name = storage.join(directory.uri, LATENCY)
    if not context.has_latency or storage.exists(name):
        return
    model = replace(job.experiment.model, pretrained=False, num_frozen_stages=0, dropout=0.0)  # what takes no time
    digest = hashlib.sha256(json.dumps(to_dict(model), sort_keys=True).encode()).hexdigest()[:16]
    known = storage.join(context.uri, LATENCIES, f"{digest}.json")
    if not storage.exists(known):
        classifier = build_classifier(model, len(job.num_train_images))
        storage.write_json(known, {"milliseconds": measure_latency(classifier, model)})
    storage.write_json(name, storage.read_json(known))


@torch.inference_mode()
def measure_latency(classifier: nn.Module, model: ModelConfig) -> float:
    """Return the median time of an image in inference, milliseconds, over all views that are averaged.

    Args:
        classifier: Network, with any weights.
        model: Settings of the network.
    """
    side = model.image_side
    classifier.eval()
    image = torch.zeros((1, side, side, 3), dtype=torch.uint8)
    times = []
    for _ in range(_TIMED_PASSES):
        began = time.perf_counter()
        for _ in range(model.num_views):
            classifier(image)
        times.append(time.perf_counter() - began)
    return 1000 * statistics.median(times[_UNTIMED_PASSES:])


def build_trainable(
    context: TrialContext, dataset: PreparedDataset, images: ImageSource | None, takes: dict[str, float]
) -> Any:  # noqa: ANN401 - Ray's own type of a trainable with resources is private
    """Return the function of a trial as Ray Tune runs it; the index and the images are in the object store.

    Args:
        context: What all trials share.
        dataset: Prepared dataset.
        images: Images of the train and validation splits, for trials without workers.
        takes: CPUs and GPUs of the trial's own process.
    """
    if context.has_workers:
        trial = tune.with_parameters(run_with_workers, context=context, dataset=dataset)
    else:
        trial = tune.with_parameters(run_alone, context=context, dataset=dataset, images=images)
    return tune.with_resources(trial, takes)


def threads_per_trial(num_concurrent: int) -> int:
    """Return the number of threads of a trial's network with which concurrent trials share a machine's cores."""
    return max(1, usable_cpus() // max(1, num_concurrent))
