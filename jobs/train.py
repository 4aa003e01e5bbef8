"""Train: ray job submit --working-dir . -- python -m jobs.train lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from jobs import console, formatting
from melanoma_ray.cluster.resources import build_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.loading.sampling_plan import check_batch_size
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.training.ensembles import train_folds, train_seeds
from melanoma_ray.training.trainer import Supervision, build_run_config, train


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """Train a network on a prepared dataset; the same command goes on after an interruption."""

    experiment: console.ExperimentArgument
    data: str
    """Directory of a prepared dataset."""
    storage: str
    """Directory of runs, local or s3://; all nodes must reach it."""
    name: str
    """Of the run."""
    num_workers: int = 1
    """Processes that train together, each with its own share of a global batch."""
    use_gpu: bool = False
    """One GPU a worker."""
    cpus_per_worker: float | None = None
    """Logical CPUs that Ray sets aside for each worker; by default half of all are shared out."""
    max_failures: int = 3
    """Failures after which the run goes on from its newest checkpoint by itself."""
    min_workers: int | None = None
    """The run goes on with as few as these when nodes are missing, and grows again; none: never with fewer.
    Every number in between must divide the global batch."""
    folds: bool = False
    """Train once for each fold of the data, without it, and write one checkpoint of all networks."""
    num_seeds: int = 1
    """Train as often, with the experiment's seed and those after it, and write one checkpoint of all networks."""
    checkpoint_every_minutes: float = 10.0
    """Between checkpoints within an epoch; 0: only at its end, and when a node is about to go."""
    mlflow_uri: str | None = None
    """Tracking server of MLflow (http://…), or sqlite:///FILE (the extra ``mlflow``); TensorBoard's event files are
    always written."""


def main(arguments: TrainArguments) -> RunDirectory:
    """Train and print where the checkpoint is."""
    if arguments.folds and arguments.num_seeds != 1:
        msg = f"folds, num_seeds={arguments.num_seeds}: an ensemble is over folds or over seeds; give one of them"
        raise ConfigError(msg)
    fewest = arguments.min_workers or arguments.num_workers
    possible, experiment = range(fewest, arguments.num_workers + 1), arguments.experiment
    check_batch_size(experiment.global_batch_size, *possible, num_parts=experiment.num_accumulations)
    dataset = open_dataset(arguments.data)
    console.connect()
    scaling = build_scaling(arguments.num_workers, use_gpu=arguments.use_gpu, cpus_per_worker=arguments.cpus_per_worker)
    if arguments.min_workers is not None:
        scaling = replace(scaling, num_workers=(arguments.min_workers, arguments.num_workers))
    run_config = build_run_config(arguments.storage, arguments.name, max_failures=arguments.max_failures)
    supervision = Supervision(
        checkpoint_every_s=60 * arguments.checkpoint_every_minutes or None,
        mlflow_uri=arguments.mlflow_uri,
        is_live=sys.stderr.isatty(),
    )
    fit: Callable[..., RunDirectory] = train
    if arguments.folds:
        fit = train_folds
    elif arguments.num_seeds != 1:
        fit = partial(train_seeds, num_seeds=arguments.num_seeds)
    run = fit(experiment, dataset, scaling=scaling, run_config=run_config, supervision=supervision)
    print(formatting.describe_run(run))
    return run


if __name__ == "__main__":
    console.run_job(main, TrainArguments)
