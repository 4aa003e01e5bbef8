"""Search settings: ray job submit --working-dir . -- python -m jobs.tune lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.tuning.sweep import SweepResult, sweep

from . import command_line, console, formatting


@dataclass(frozen=True, kw_only=True)
class TuneArguments:
    """Search learning rate, class weighting and regularisation, starting from an experiment."""

    experiment: command_line.ExperimentArgument
    data: str
    """Directory of the prepared dataset."""
    storage: str
    """Directory for sweeps, local or s3://; all nodes must reach it."""
    name: str
    """Name of the sweep."""
    num_trials: int = 16
    """Number of trials; ASHA stops early those that fall behind."""
    num_workers: int = 0
    """Number of worker processes of each trial; 0: the trial trains in its own process, which starts fastest."""
    use_gpu: bool = False
    """Give each worker one GPU."""
    cpus_per_worker: float | None = None
    """Logical CPUs reserved for each worker; by default the workers share half of this machine's CPUs;
    on a cluster each gets 4."""


def main(arguments: TuneArguments) -> SweepResult:
    """Run the sweep and print its trials, best first."""
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
