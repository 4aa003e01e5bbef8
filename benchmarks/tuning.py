"""A sweep beside the sum of its trials, and beside Optuna alone in one process: python -m benchmarks.tuning.

Sixteen short trials of ``baseline``, one at a time with all threads, stopped early by successive halving. The sweep
runs first. Then the same settings, for the same numbers of epochs, are trained by the same loop in this process, with
no Ray Tune around it; the images come through the same stream. Nothing else may run.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import ray
import torch

from melanoma_ray.cluster.process import prepare_process
from melanoma_ray.cluster.resources import usable_cpus
from melanoma_ray.config import Experiment, ImageConfig, PrepareConfig
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.loading.stream import Batch, ImageSource, build_stream, open_images
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.recipes import baseline
from melanoma_ray.reports.sweep import SweepTrial
from melanoma_ray.runs.history import BEST_METRIC
from melanoma_ray.settings import with_settings
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.synthetic.collection import write_synthetic_collection
from melanoma_ray.training.backend import PREFETCHED_BATCHES
from melanoma_ray.training.loop import TrainingJob, Worker
from melanoma_ray.training.trainer import build_job
from melanoma_ray.tuning.options import SearchOptions
from melanoma_ray.tuning.space import SearchSpace, build_space
from melanoma_ray.tuning.study import build_pruner, build_sampler, seed_of
from melanoma_ray.tuning.sweep import SweepPlan, sweep

from .measuring import connect, print_table


class StopTrialError(Exception):
    """Ends a trial that the pruner stops."""


class PlainBackend:
    """This process as a place to train, which tells Optuna the value of each epoch."""

    rank, num_workers, device = 0, 1, torch.device("cpu")

    def __init__(self, job: TrainingJob, images: ImageSource, trial: optuna.trial.Trial) -> None:
        """Train one job."""
        self._job, self._images, self._trial = job, images, trial
        self.best = 0.0

    def batches(self, batch_size: int, start_batch: int) -> Iterator[Batch]:
        """Yield the batches of the plan."""
        stream = build_stream(
            self._job.plan, self._images, self._job.experiment, start_batch=start_batch, num_workers=1
        )
        yield from stream.iter_batches(batch_size=batch_size, batch_format="numpy", prefetch_batches=PREFETCHED_BATCHES)

    def latest(self) -> Path | None:
        """Return that the trial is at its start."""
        return None

    def report(self, metrics: dict[str, Any], progress: Path | None) -> None:
        """Tell Optuna, and stop if it says so."""
        shutil.rmtree(progress or "", ignore_errors=True)
        if "epoch" in metrics:
            self.best = max(self.best, float(metrics[BEST_METRIC]))
            self._trial.report(float(metrics[BEST_METRIC]), int(metrics["epoch"]))
            if self._trial.should_prune():
                raise StopTrialError

    def is_leaving(self) -> bool:
        """Return False."""
        return False


def main() -> None:
    """Run both and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="prepared dataset; by default 600 drawn lesions are prepared")
    parser.add_argument("--num-trials", type=int, default=16)
    parser.add_argument("--num-epochs", type=int, default=4)
    parser.add_argument("--side", type=int, default=180, help="side of the network's input, pixels")
    arguments = parser.parse_args()
    connect()
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(arguments.data or _draw(Path(folder), arguments.side))
        model = replace(baseline().model, image_side=arguments.side)
        experiment = replace(baseline(), model=model, num_epochs=arguments.num_epochs)
        space = build_space([], experiment)
        plan = SweepPlan(experiment=experiment, space=space, num_trials=arguments.num_trials)
        began = time.perf_counter()
        result = sweep(plan, dataset, f"{folder}/sweep")
        wall = time.perf_counter() - began
        alone, epochs = run_alone(experiment, space, dataset, arguments.num_trials)
    ray.shutdown()
    _print(result.trials, wall, alone, epochs)


def run_alone(
    experiment: Experiment, space: SearchSpace, dataset: PreparedDataset, num_trials: int
) -> tuple[float, int]:
    """Return the seconds and the epochs of a plain Optuna study in this process, with the same sampler and pruner.

    Args:
        experiment: Experiment to start from.
        space: Search space.
        dataset: Prepared dataset.
        num_trials: Number of trials.
    """
    options = SearchOptions()
    prepare_process(usable_cpus())
    began, images, own = time.perf_counter(), open_images(dataset), space.own_values(experiment)
    study = optuna.create_study(direction="maximize", pruner=build_pruner(options, experiment.num_epochs))
    study.enqueue_trial(own)
    for number in range(num_trials):
        study.sampler = build_sampler(options, seed_of(experiment.seed, number))
        trial = study.ask()
        settings = {one.name: one.suggest(trial) for one in space.dimensions}
        job = build_job(with_settings(experiment, settings), dataset)
        backend = PlainBackend(job, images, trial)
        try:
            Worker(job, backend).train()
            study.tell(trial, backend.best)
        except StopTrialError:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    return time.perf_counter() - began, sum(len(trial.intermediate_values) for trial in study.trials)


def _draw(folder: Path, side: int) -> str:
    write_synthetic_collection(str(folder / "images"), num_images=600, seed=0)
    prepare(read_collection(str(folder / "images")), str(folder / "data"), PrepareConfig(image=ImageConfig(side=side)))
    return str(folder / "data")


def _print(trials: list[SweepTrial], wall: float, alone: float, alone_epochs: int) -> None:
    own = sum(trial.seconds for trial in trials)
    epochs = sum(trial.num_epochs for trial in trials)
    print_table(
        f"{len(trials)} trials of baseline, one at a time on {usable_cpus()} CPUs",
        ["", "seconds", "epochs", "of the trials' own time"],
        [
            ["the trials' own training", f"{own:.0f}", str(epochs), "1.00"],
            ["the sweep, from its start to best.json", f"{wall:.0f}", str(epochs), f"{wall / own:.2f}"],
            ["Optuna alone in one process", f"{alone:.0f}", str(alone_epochs), f"{alone / own:.2f}"],
        ],
    )


if __name__ == "__main__":
    main()
