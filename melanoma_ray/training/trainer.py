"""A run of training on Ray Train, from a prepared dataset to a finished checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import ray.data
from ray.actor import ActorHandle
from ray.data import DataIterator
from ray.train import CheckpointConfig, DataConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from melanoma_ray import storage
from melanoma_ray.cluster.failures import find_cause
from melanoma_ray.cluster.process import WORKER_ENVIRONMENT, prepare_process
from melanoma_ray.cluster.waiting import Request, wait_for
from melanoma_ray.cluster.workarounds import known_cluster, patient_start
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset, referred_classes
from melanoma_ray.errors import StorageError
from melanoma_ray.loading.sampling_plan import check_batch_size
from melanoma_ray.loading.stream import ImageSource, build_plan, build_stream, open_images
from melanoma_ray.runs.directory import RunDirectory, check_name
from melanoma_ray.runs.history import BEST_METRIC
from melanoma_ray.runs.lock import hold
from melanoma_ray.runs.progress import read_progress
from melanoma_ray.runs.tracking import TrackingConfig, absolute_mlflow_uri, end_tracking
from melanoma_ray.training.backend import STREAM, RayTrainBackend
from melanoma_ray.training.finalization import finalize_run
from melanoma_ray.training.loop import TrainingJob, Worker

logger = logging.getLogger(__name__)


def build_run_config(
    storage_uri: str,
    name: str,
    *,
    max_failures: int,
    callbacks: Sequence[UserCallback] = (),
    best_by: str = BEST_METRIC,
) -> RunConfig:
    """Return Ray Train's settings of a run; it keeps the newest progress and the best one.

    Args:
        storage_uri: Directory for runs, local or s3://.
        name: Name of the run.
        max_failures: Number of failures from which the run recovers by itself.
        callbacks: Callbacks of Ray Train.
        best_by: Field of ``EpochRecord`` whose largest value is the best.

    Raises:
        ConfigError: The name isn't one.
    """
    check_name(name)
    return RunConfig(
        storage_path=storage.absolute(storage_uri),
        name=name,
        failure_config=FailureConfig(max_failures=max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=1, checkpoint_score_attribute=best_by, checkpoint_score_order="max"
        ),
        callbacks=list(callbacks),
        worker_runtime_env={"env_vars": WORKER_ENVIRONMENT},
        logging_config=LoggingConfig(log_level="WARNING"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Supervision:
    """How a run is saved, logged and displayed; nothing of it changes the weights."""

    checkpoint_every_s: float | None = None
    """Seconds between saves of progress within an epoch; none: progress is saved only at the end of an epoch and when
    a node is about to be removed."""
    mlflow_uri: str | None = None
    """MLflow tracking server (http://…) or sqlite:///FILE; none: MLflow isn't used."""
    is_live: bool = False
    """Show a progress bar on this process's terminal."""


def build_job(experiment: Experiment, dataset: PreparedDataset) -> TrainingJob:
    """Return what a worker needs to train an experiment on a dataset."""
    counts = dataset.split("train")["diagnosis"].value_counts()
    return TrainingJob(
        experiment=experiment,
        plan=build_plan(dataset, experiment),
        num_train_images=tuple(int(counts.get(name, 0)) for name in dataset.info.diagnoses),
        referred=referred_classes(dataset.info, experiment.decision),
    )


def train(
    experiment: Experiment,
    dataset: PreparedDataset,
    *,
    scaling: ScalingConfig,
    run_config: RunConfig,
    supervision: Supervision | None = None,
) -> RunDirectory:
    """Train to the end and write the checkpoint; an interrupted run continues, a finished one is returned as it is.

    Args:
        experiment: Settings that decide the weights.
        dataset: Prepared dataset, from ``open_dataset``.
        scaling: Ray's number of workers, CPUs and GPUs.
        run_config: Ray's settings of the run, from ``build_run_config``.
        supervision: How the run is saved, logged and displayed; none: the defaults.

    Raises:
        MelanomaRayError: The settings contradict each other, or a worker raised it.
        ResourceError: There was no room for the workers for as long as this process waits.
        RunHeldError: Another process is at work on the run.
        TrainingFailedError: There were more failures than the run may have.
    """
    job = build_job(experiment, dataset)
    possible = range(scaling.min_workers, scaling.max_workers + 1)
    check_batch_size(experiment.global_batch_size, *possible, num_parts=experiment.num_accumulations)
    run = RunDirectory(uri=storage.join(str(run_config.storage_path), str(run_config.name)))
    watch = supervision or Supervision()
    tracking = TrackingConfig(run_uri=run.uri, mlflow_uri=absolute_mlflow_uri(watch.mlflow_uri))
    job = replace(
        job,
        checkpoint_every_s=watch.checkpoint_every_s,
        tracking=tracking,
        is_live=watch.is_live,
    )
    with hold(run.uri):
        run.claim(experiment, dataset)
        if run.is_finished:
            logger.info("run %s is already finished", run.uri)
            return run
        if run.next_batch() < job.plan.num_batches:
            call = partial(fit, job, dataset, scaling=scaling, run_config=run_config)
            wait_for(call, worker_request(scaling))
        progress = run.progress()
        end_tracking(tracking, experiment, progress.steps, progress.history)
        finalize_run(run, experiment, dataset, use_gpu=scaling.use_gpu)
    return run


def worker_request(scaling: ScalingConfig) -> Request:
    """Return what a group of workers asks of the cluster, at the least."""
    return Request(
        what="training",
        number=scaling.min_workers,
        resources={"CPU": 1.0, **(scaling.resources_per_worker or {})},
        advice="fewer --num-workers, a smaller --cpus-per-worker, or no --use-gpu ask for less",
    )


def fit(job: TrainingJob, dataset: PreparedDataset, *, scaling: ScalingConfig, run_config: RunConfig) -> None:
    """Train to the end of the plan with a worker group of Ray Train, starting from the newest progress.

    Args:
        job: The training to do.
        dataset: Prepared dataset, from ``open_dataset``.
        scaling: Ray's number of workers, CPUs and GPUs.
        run_config: Ray's settings of the run, from ``build_run_config``.

    Raises:
        MelanomaRayError: A worker raised it.
        OSError: A worker, or the controller of Ray Train, met it on a disk or in a store.
        TrainingFailedError: There were more failures than the run may have.
    """
    run_uri = storage.join(str(run_config.storage_path), str(run_config.name))
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=scaling,
        run_config=run_config,
        datasets={STREAM: partial(_next_batch, run_uri, job.starts_from)},  # called at each start of the worker group
        dataset_config=PlannedData(job, open_images(dataset)),
    )
    try:
        with known_cluster(), patient_start(is_elastic=scaling.min_workers != scaling.max_workers):
            trainer.fit()
    except TrainingFailedError as error:
        cause = find_cause(error)
        if cause is None:
            raise
        if isinstance(cause, OSError) and not cause.filename and not isinstance(cause, StorageError):
            cause = StorageError(storage.explain(cause, run_uri))  # Ray's own copying doesn't say of what
        raise cause from error


def _next_batch(run_uri: str, starts_from: str | None) -> int:
    """Return the batch index at which a run goes on, or begins."""
    newest = RunDirectory(uri=run_uri).newest_progress() or starts_from
    return read_progress(newest).batch_index if newest else 0


class PlannedData(DataConfig):
    """Distributes the plan, from the next batch on, over the workers that this start of the worker group has."""

    def __init__(self, job: TrainingJob, images: ImageSource) -> None:
        """Set Ray's options so that its splitter gives each worker its share of each batch, in order.

        Args:
            job: The training to do.
            images: Images of the train and validation splits.
        """
        ordered = ray.data.ExecutionOptions(preserve_order=True)
        super().__init__(execution_options=ordered, enable_shard_locality=False)
        self.job, self.images = job, images

    def configure(
        self,
        datasets: dict[str, Any],
        world_size: int,
        worker_handles: list[ActorHandle] | None,
        worker_node_ids: list[str] | None,
        **kwargs: object,
    ) -> list[dict[str, DataIterator]]:
        """Build the stream and split it; the value of each "dataset" is the batch index at which to start."""
        streams = {
            name: build_stream(
                self.job.plan, self.images, self.job.experiment, start_batch=start_batch, num_workers=world_size
            )
            for name, start_batch in datasets.items()
        }
        shards: list[dict[str, DataIterator]] = super().configure(
            streams, world_size, worker_handles, worker_node_ids, **kwargs
        )
        return shards


def train_worker(config: dict[str, Any]) -> None:
    """Run the training loop in a worker of Ray Train; ``config`` has the job."""
    backend = RayTrainBackend()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process(backend.num_threads)
    Worker(config["job"], backend).train()
