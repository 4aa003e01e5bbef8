"""Search settings: ray job submit --working-dir . -- python -m jobs.tune lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

from dataclasses import dataclass

from jobs import console, formatting
from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.tuning.sweep import SweepResult, sweep


@dataclass(frozen=True, kw_only=True)
class TuneArguments:
    """Search learning rate, weighting and regularisation around an experiment."""

    experiment: console.ExperimentArgument
    data: str
    """Directory of a prepared dataset."""
    storage: str
    """Directory of sweeps, local or s3://; all nodes must reach it."""
    name: str
    """Of the sweep."""
    num_trials: int = 16
    """Settings to try; ASHA stops those that lag."""
    num_workers: int = 0
    """Of each trial; 0 trains a trial in its own process, which starts fastest."""
    use_gpu: bool = False
    """One GPU a worker."""
    cpus_per_worker: float | None = None
    """Logical CPUs that Ray sets aside for each worker; by default half of all are shared out."""


def main(arguments: TuneArguments) -> SweepResult:
    """Search and print the trials."""
    dataset = open_dataset(arguments.data)
    console.connect()
    workers = arguments.num_workers
    gpu, cpus = arguments.use_gpu, arguments.cpus_per_worker
    scaling = build_scaling(workers, use_gpu=gpu, cpus_per_worker=cpus) if workers else None
    uri = storage.join(storage.absolute(arguments.storage), arguments.name)
    result = sweep(arguments.experiment, dataset, uri, num_trials=arguments.num_trials, scaling=scaling)
    print(formatting.describe_sweep(result))
    return result


if __name__ == "__main__":
    console.run_job(main, TuneArguments)
