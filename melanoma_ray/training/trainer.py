"""A run of training on Ray Train, from a prepared dataset to a finished checkpoint."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray.data
from ray.train import CheckpointConfig, DataConfig, FailureConfig, LoggingConfig, RunConfig, ScalingConfig, UserCallback
from ray.train.torch import TorchTrainer
from ray.train.v2.api.exceptions import TrainingFailedError

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.data.dataset import PreparedDataset
from melanoma_ray.data.plan import check_batch_size
from melanoma_ray.data.stream import build_plan, build_stream, load_decoded
from melanoma_ray.errors import MelanomaRayError
from melanoma_ray.training.finishing import finish_run
from melanoma_ray.training.loop import TrainingJob, Worker
from melanoma_ray.training.port import STREAM, TrainPort
from melanoma_ray.training.process import prepare_process
from melanoma_ray.training.run import BEST_METRIC, RunDirectory

logger = logging.getLogger(__name__)


def build_run_config(
    storage_uri: str, name: str, *, max_failures: int, callbacks: Sequence[UserCallback] = ()
) -> RunConfig:
    """Return Ray's settings of a run: where it lies, what is kept, how often it may fail."""
    return RunConfig(
        storage_path=storage.absolute(storage_uri),
        name=name,
        failure_config=FailureConfig(max_failures=max_failures),
        checkpoint_config=CheckpointConfig(
            num_to_keep=1, checkpoint_score_attribute=BEST_METRIC, checkpoint_score_order="max"
        ),
        callbacks=list(callbacks),
        logging_config=LoggingConfig(log_level="WARNING"),
    )


def build_job(experiment: Experiment, dataset: PreparedDataset) -> TrainingJob:
    """Return what a worker must know."""
    counts = dataset.split("train")["diagnosis"].value_counts()
    return TrainingJob(
        experiment=experiment,
        plan=build_plan(dataset, experiment),
        num_train_images=tuple(int(counts[name]) for name in dataset.info.diagnoses),
    )


def train(
    experiment: Experiment, dataset: PreparedDataset, *, scaling: ScalingConfig, run_config: RunConfig
) -> RunDirectory:
    """Train to the end and finish the checkpoint; a run that was interrupted goes on.

    Args:
        experiment: What decides the weights.
        dataset: From ``open_dataset``.
        scaling: Ray's: workers, CPUs, GPUs.
        run_config: From ``build_run_config``.

    Raises:
        MelanomaRayError: The settings contradict each other, or what a worker raised.
        TrainingFailedError: More failures than ``max_failures``.
    """
    job = build_job(experiment, dataset)
    check_batch_size(experiment.global_batch_size, scaling.max_workers)
    run = RunDirectory(uri=storage.join(str(run_config.storage_path), str(run_config.name)))
    run.claim(experiment, dataset)
    if run.is_finished:
        logger.info("run %s is finished already", run.uri)
        return run
    if run.slot() < job.plan.num_slots:
        fit(job, dataset, scaling=scaling, run_config=run_config)
    finish_run(run, experiment, dataset, use_gpu=scaling.use_gpu)
    return run


def fit(job: TrainingJob, dataset: PreparedDataset, *, scaling: ScalingConfig, run_config: RunConfig) -> None:
    """See the plan to its end with a worker group of Ray Train, from the newest checkpoint on.

    Raises:
        MelanomaRayError: What a worker raised.
        TrainingFailedError: More failures than the run may have.
    """
    run_uri = storage.join(str(run_config.storage_path), str(run_config.name))
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"job": job},
        scaling_config=scaling,
        run_config=run_config,
        datasets={STREAM: partial(_stream_from_newest, job, dataset, run_uri, scaling.max_workers)},
        dataset_config=_ordered(),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        for cause in getattr(error, "worker_failures", {}).values():
            if isinstance(cause, MelanomaRayError):
                raise cause from error
        raise


def _ordered() -> DataConfig:
    """Return Ray's settings under which the splitter follows the plan."""
    return DataConfig(execution_options=ray.data.ExecutionOptions(preserve_order=True), enable_shard_locality=False)


def _stream_from_newest(job: TrainingJob, dataset: PreparedDataset, run_uri: str, num_workers: int) -> ray.data.Dataset:
    """Build the stream from the newest checkpoint's slot; Ray calls this at each start of the workers."""
    start = RunDirectory(uri=run_uri).slot()
    return build_stream(job.plan, load_decoded(dataset), job.experiment, start_slot=start, num_workers=num_workers)


def train_worker(config: dict[str, Any]) -> None:
    """Run the loop in a worker of Ray Train."""
    port = TrainPort()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process(port.num_threads)
    Worker(config["job"], port).run()
