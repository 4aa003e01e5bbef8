"""Search settings: ray job submit --working-dir . -- python -m jobs.tune lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_trial_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.loading.sampling_plan import check_batch_size
from melanoma_ray.model.networks import check_network
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.runs.directory import check_name
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
    num_trials: Annotated[int, Range(1)] = 16
    """Number of trials, 1 or more; ASHA stops early those that fall behind."""
    num_workers: Annotated[int, Range(0)] = 0
    """Number of worker processes of each trial, 0 or more; 0: a trial trains in its own process and starts fastest."""
    use_gpu: bool = False
    """Give each worker one GPU, or each trial that has no workers."""
    cpus_per_worker: Annotated[float | None, Range(above=0)] = None
    """Logical CPUs reserved for each worker, more than 0; by default the workers share half of this machine's CPUs,
    and on a cluster each gets 4."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        check_name(self.name)


def main(arguments: TuneArguments) -> SweepResult:
    """Run the sweep and print its trials, best first."""
    experiment, workers = arguments.experiment, arguments.num_workers
    check_network(experiment.model.network)
    check_batch_size(experiment.global_batch_size, max(1, workers), num_parts=experiment.num_accumulations)
    scaling = build_trial_scaling(workers, use_gpu=arguments.use_gpu, cpus_per_worker=arguments.cpus_per_worker)
    dataset = open_dataset(arguments.data)
    storage.check_writable(arguments.storage)
    console.connect(wait_minutes=arguments.wait_minutes)
    uri = storage.join(storage.absolute(arguments.storage), arguments.name)
    result = sweep(experiment, dataset, uri, num_trials=arguments.num_trials, scaling=scaling)
    print(formatting.describe_sweep(result))
    return result


if __name__ == "__main__":
    console.run_job(main, TuneArguments)
