"""Search settings: ray job submit --working-dir . -- python -m jobs.tune lite0 --data DIR --storage DIR --name NAME."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated, Literal

import tyro

from melanoma_ray import storage
from melanoma_ray.cluster.resources import build_scaling, build_trial_scaling
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.errors import ConfigError
from melanoma_ray.loading.sampling_plan import check_batch_size
from melanoma_ray.loading.stream import build_plan
from melanoma_ray.model.networks import check_network
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.runs.directory import check_name
from melanoma_ray.tuning.confirmation import ConfirmationPlan
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.population import can_change
from melanoma_ray.tuning.results import SweepResult
from melanoma_ray.tuning.space import build_space
from melanoma_ray.tuning.sweep import SweepPlan, sweep

from . import command_line, console, formatting


@dataclass(frozen=True, kw_only=True)
class TuneArguments:
    """Search for better settings around an experiment; the same command goes on with a sweep, or adds trials to it."""

    experiment: command_line.ExperimentArgument
    data: str
    """Directory of the prepared dataset."""
    storage: str
    """Directory for sweeps, local or s3://; all nodes must reach it."""
    name: str
    """Name of the sweep."""
    space: tuple[str, ...] = ("default",)
    """What is searched, one or several of: default, optimizer, augmentation, loss or architecture; a file.json; a
    setting with its range, such as optimizer.learning-rate=log:1e-4:1e-2 (also uniform:LOW:HIGH, int:LOW:HIGH and
    choice:A,B; with @OTHER=A|B at its end only where another setting has one of these values)."""
    num_trials: Annotated[int, Range(1)] = 16
    """Number of trials in all, or of members of a population, 1 or more; more than before adds trials to the sweep."""
    options: Annotated[SearchOptions, tyro.conf.arg(name="")] = field(default_factory=SearchOptions)
    num_workers: Annotated[int, Range(0)] = 0
    """Number of worker processes of each trial, 0 or more; 0: a trial trains in its own process and starts fastest."""
    use_gpu: bool = False
    """Give each worker one GPU, or each trial that has no workers."""
    gpus_per_worker: Annotated[float, Range(above=0)] = 1.0
    """GPUs of each worker, or of each trial that has no workers, with --use-gpu; more than 0; 0.25: four share one."""
    cpus_per_worker: Annotated[float | None, Range(above=0)] = None
    """Logical CPUs reserved for each worker, also of a confirmation, more than 0; by default the workers share half of
    this machine's CPUs, and on a cluster each gets 4."""
    confirm: Literal["no", "folds", "seeds"] = "no"
    """Train the winner and the experiment itself anew, each on all folds of the data or with several seeds, and tell
    whether their difference is more than noise. no: that isn't done."""
    confirm_seeds: Annotated[int, Range(2)] = 5
    """Number of seeds with --confirm seeds, 2 or more; they are others than the sweep's own."""
    wait_minutes: command_line.WaitMinutes = command_line.WAIT_MINUTES
    """Minutes to wait for free CPUs and GPUs on a cluster before the job gives up, more than 0."""
    mlflow_uri: str | None = None
    """MLflow tracking server (http://…) or sqlite:///FILE to log the trials to; needs the extra ``mlflow``.
    TensorBoard event files are always written."""

    def __post_init__(self) -> None:
        """Check ranges, and that something is searched."""
        check_ranges(self)
        check_name(self.name)
        if not self.space:
            msg = "--space has nothing after it: name what is searched, or leave it out for the default space"
            raise ConfigError(msg)
        if self.gpus_per_worker != 1.0 and not self.use_gpu:
            msg = f"gpus_per_worker={self.gpus_per_worker:g}: has no effect without --use-gpu; give both, or neither"
            raise ConfigError(msg)
        if self.cpus_per_worker is not None and not self.num_workers and self.confirm == "no":
            msg = (
                f"cpus_per_worker={self.cpus_per_worker:g}: there are no workers; give --num-workers 1 or more with it"
            )
            raise ConfigError(msg)


def main(arguments: TuneArguments) -> SweepResult:
    """Run the sweep and print its trials, best first."""
    experiment, workers = arguments.experiment, arguments.num_workers
    is_taken = can_change if arguments.options.is_population else None
    space = build_space(arguments.space, experiment, is_taken=is_taken)
    for network in space.values_of("model.network", experiment):
        check_network(str(network))
    num_parts = min(map(int, space.values_of("num_accumulations", experiment)))
    for size in space.values_of("global_batch_size", experiment):
        check_batch_size(int(size), max(1, workers), num_parts=num_parts)
    scaling = build_trial_scaling(
        workers,
        gpus_per_worker=arguments.gpus_per_worker if arguments.use_gpu else 0.0,
        cpus_per_worker=arguments.cpus_per_worker,
    )
    plan = SweepPlan(
        experiment=experiment,
        space=space,
        num_trials=arguments.num_trials,
        options=arguments.options,
        scaling=scaling,
        confirmation=_confirmation(arguments),
        mlflow_uri=arguments.mlflow_uri,
    )
    dataset = open_dataset(arguments.data)
    num_folds = dataset.info.config.split.num_folds if arguments.confirm == "folds" else 0
    for trained_on in (dataset, *(dataset.with_fold(fold) for fold in range(num_folds))):
        sampling = build_plan(trained_on, experiment)
        for size in space.values_of("global_batch_size", experiment):
            replace(sampling, global_batch_size=int(size))  # which refuses a batch larger than all that it trains on
    storage.check_writable(arguments.storage)
    console.connect(wait_minutes=arguments.wait_minutes)
    result = sweep(plan, dataset, storage.join(storage.absolute(arguments.storage), arguments.name))
    print(formatting.describe_sweep(result))
    return result


def _confirmation(arguments: TuneArguments) -> ConfirmationPlan | None:
    """Return how the winner is confirmed; none: it isn't."""
    if arguments.confirm == "no":
        return None
    workers = max(1, arguments.num_workers)  # a run is trained by Ray Train
    scaling = build_scaling(
        workers,
        use_gpu=arguments.use_gpu,
        cpus_per_worker=arguments.cpus_per_worker,
        gpus_per_worker=arguments.gpus_per_worker,
    )
    return ConfirmationPlan(over=arguments.confirm, num_seeds=arguments.confirm_seeds, scaling=scaling)


if __name__ == "__main__":
    console.run_job(main, TuneArguments)
