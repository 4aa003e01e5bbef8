"""Train: ray job submit --working-dir . -- python -m jobs.train lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.loading.sampling_plan import check_batch_size
from melanoma_ray.model.networks import check_network
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.runs.directory import RunDirectory, check_name
from melanoma_ray.training.ensembles import train_folds, train_seeds
from melanoma_ray.training.trainer import Supervision, build_run_config, train

from . import command_line, console, formatting


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """Train a network on a prepared dataset; after an interruption the same command continues the run."""

    experiment: command_line.ExperimentArgument
    data: str
    """Directory of the prepared dataset."""
    storage: str
    """Directory for runs, local or s3://; all nodes must reach it."""
    name: str
    """Name of the run."""
    num_workers: Annotated[int, Range(1)] = 1
    """Number of processes that train together, each on its share of a global batch, 1 or more."""
    use_gpu: bool = False
    """Give each worker one GPU."""
    cpus_per_worker: Annotated[float | None, Range(above=0)] = None
    """Logical CPUs reserved for each worker, more than 0; by default the workers share half of this machine's CPUs,
    and on a cluster each gets 4."""
    max_failures: Annotated[int, Range(0)] = 3
    """Number of failures from which the run recovers by itself, starting again from its newest progress, 0 or more."""
    min_workers: Annotated[int | None, Range(1)] = None
    """Smallest number of workers to continue with when nodes are missing, 1 or more; the run grows when they are back.
    Every number from this to num_workers must divide the global batch. none: always num_workers."""
    folds: bool = False
    """Train one network for each fold of the data, on the other folds, and write one checkpoint with all of them."""
    num_seeds: Annotated[int, Range(1)] = 1
    """Number of networks, 1 or more, to train with the experiment's seed and those after it, for one checkpoint."""
    checkpoint_every_minutes: Annotated[float, Range(0)] = 10.0
    """Minutes between saves of progress within an epoch, 0 or more;
    0: progress is saved only at the end of an epoch and when a node is about to be removed."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""
    mlflow_uri: str | None = None
    """MLflow tracking server (http://…) or sqlite:///FILE to log to; needs the extra ``mlflow``.
    TensorBoard event files are always written."""

    def __post_init__(self) -> None:
        """Check ranges, and that settings don't contradict each other."""
        check_ranges(self)
        check_name(self.name)
        if self.folds and self.num_seeds != 1:
            msg = f"folds, num_seeds={self.num_seeds}: an ensemble is over folds or over seeds; give one of them"
            raise ConfigError(msg)
        if (self.min_workers or 1) > self.num_workers:
            msg = f"min_workers={self.min_workers}: expected at most num_workers={self.num_workers}"
            raise ConfigError(msg)


def main(arguments: TrainArguments) -> RunDirectory:
    """Train, and print the figures of the best epoch and the checkpoint's directory."""
    fewest = arguments.min_workers or arguments.num_workers
    possible, experiment = range(fewest, arguments.num_workers + 1), arguments.experiment
    check_batch_size(experiment.global_batch_size, *possible, num_parts=experiment.num_accumulations)
    check_network(experiment.model.network)
    scaling = build_scaling(arguments.num_workers, use_gpu=arguments.use_gpu, cpus_per_worker=arguments.cpus_per_worker)
    if arguments.min_workers is not None:
        scaling = replace(scaling, num_workers=(arguments.min_workers, arguments.num_workers))
    dataset = open_dataset(arguments.data)
    storage.check_writable(arguments.storage)
    console.connect(wait_minutes=arguments.wait_minutes)
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
