"""Train: ray job submit --working-dir . -- python -m jobs.train lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

from dataclasses import dataclass

from jobs import console, wording
from melanoma_ray.data.dataset import open_dataset
from melanoma_ray.data.plan import check_batch_size
from melanoma_ray.training.run import RunDirectory
from melanoma_ray.training.trainer import build_run_config, train


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


def main(arguments: TrainArguments) -> RunDirectory:
    """Train and print where the checkpoint is."""
    check_batch_size(arguments.experiment.global_batch_size, arguments.num_workers)
    dataset = open_dataset(arguments.data)
    console.connect()
    scaling = console.scale(arguments.num_workers, use_gpu=arguments.use_gpu, cpus_per_worker=arguments.cpus_per_worker)
    run_config = build_run_config(arguments.storage, arguments.name, max_failures=arguments.max_failures)
    run = train(arguments.experiment, dataset, scaling=scaling, run_config=run_config)
    print(wording.describe_run(run))
    return run


if __name__ == "__main__":
    console.run(main, TrainArguments)
