"""A sweep: Optuna proposes settings, ASHA stops trials that fall behind, and every trial is a whole training run.

best.json      the best settings as an experiment, and the address of their checkpoint
best/          that checkpoint
trials.json    all trials
sweep.html     the same as a table
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeGuard

import optuna
from ray import tune
from ray.train import ScalingConfig
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from melanoma_ray import storage
from melanoma_ray.cluster.failures import describe, find_cause
from melanoma_ray.cluster.waiting import Request, wait_for
from melanoma_ray.cluster.workarounds import checkpoint_uri
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import ConfigError, TrainingError
from melanoma_ray.loading.stream import open_images
from melanoma_ray.model.checkpoint import BEST
from melanoma_ray.reports.sweep import SweepTrial, render_sweep
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.runs.history import BEST_METRIC
from melanoma_ray.runs.lock import hold
from melanoma_ray.settings import to_dict
from melanoma_ray.training.finalization import finalize_checkpoint
from melanoma_ray.training.trainer import worker_request
from melanoma_ray.tuning.concurrency import DRIVER_CPUS, RoomLimiter, num_that_fit, takes_of_trial
from melanoma_ray.tuning.reporting import TrialLines, directory_of, name_in_directory, trial_namer
from melanoma_ray.tuning.space import build_space, own_values
from melanoma_ray.tuning.trial import apply_settings, run_alone, run_with_workers, threads_per_trial

_RUNS = "runs"
"""Directory of the trials' runs, where they have workers of their own."""
_GRACE_EPOCHS = 1
_REDUCTION_FACTOR = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepResult:
    """The results of a sweep."""

    uri: str
    """Directory of the sweep."""
    trials: list[SweepTrial]
    """All trials, best first."""

    @property
    def best_json(self) -> str:
        """File that ``jobs.train`` accepts as EXPERIMENT and other jobs as ``--checkpoint``."""
        return storage.join(self.uri, "best.json")


def sweep(
    experiment: Experiment, dataset: PreparedDataset, uri: str, *, num_trials: int, scaling: ScalingConfig | None
) -> SweepResult:
    """Search around an experiment and write the checkpoint of the best trial; a finished sweep is returned as it is.

    Args:
        experiment: Experiment to start from; the first trial is this experiment itself.
        dataset: Prepared dataset, from ``open_dataset``.
        uri: Directory of the sweep.
        num_trials: Number of trials, 1 or more.
        scaling: Ray's number of workers, CPUs and GPUs of each trial; none or 0 workers: each trial trains in its own
            process, on a GPU if the scaling has GPUs.

    Raises:
        ConfigError: There are no trials to do, or the directory has another sweep.
        RunHeldError: Another process is running the sweep.
        TrainingError: No trial finished an epoch.
    """
    if num_trials < 1:
        msg = f"num_trials={num_trials}: expected 1 or more"
        raise ConfigError(msg)
    with hold(uri):
        return _search(experiment, dataset, uri, num_trials, scaling)


def _search(
    experiment: Experiment, dataset: PreparedDataset, uri: str, num_trials: int, scaling: ScalingConfig | None
) -> SweepResult:
    origin = {"started_from": to_dict(experiment), "data_fingerprint": dataset.info.fingerprint}
    if storage.exists(storage.join(uri, "best.json")):
        return _reopen(uri, origin)
    tuner = _build_tuner(experiment, dataset, uri, num_trials, scaling)
    try:
        grid = wait_for(tuner.fit, _request(scaling))
    except EOFError:  # where a disk is full, Ray reads the half of an error that it could write
        storage.check_writable(uri)
        raise
    trials = sorted((_describe(result, uri, experiment.num_epochs) for result in grid), key=_badness)
    if not trials[0].progress:
        msg = f"sweep {uri}: no trial finished an epoch ({trials[0].status})"
        raise TrainingError(msg)
    best = apply_settings(experiment, trials[0].settings)
    use_gpu = bool(scaling and scaling.use_gpu)
    finalize_checkpoint([trials[0].progress], storage.join(uri, BEST), best, dataset, use_gpu=use_gpu)
    _write(uri, trials, best, dataset, origin)
    return SweepResult(uri=uri, trials=trials)


def _build_tuner(
    experiment: Experiment, dataset: PreparedDataset, uri: str, num_trials: int, scaling: ScalingConfig | None
) -> tune.Tuner:
    takes = takes_of_trial(scaling)
    num_concurrent = min(num_trials, num_that_fit(takes))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    searcher = OptunaSearch(
        sampler=optuna.samplers.TPESampler(seed=experiment.seed), points_to_evaluate=[own_values(experiment)]
    )
    scheduler = ASHAScheduler(
        time_attr="epoch",
        max_t=experiment.num_epochs,
        grace_period=min(_GRACE_EPOCHS, experiment.num_epochs),
        reduction_factor=_REDUCTION_FACTOR,
    )
    parent, name = uri.rsplit("/", 1)
    return tune.Tuner(
        _build_trainable(experiment, dataset, storage.join(uri, _RUNS), num_concurrent, scaling),
        param_space=build_space(experiment),
        tune_config=tune.TuneConfig(
            metric=BEST_METRIC,
            mode="max",
            num_samples=num_trials,
            search_alg=RoomLimiter(searcher, takes),
            scheduler=scheduler,
            trial_name_creator=trial_namer(),
            trial_dirname_creator=directory_of,
        ),
        run_config=tune.RunConfig(
            storage_path=parent,
            name=name,
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=BEST_METRIC),
            callbacks=[TrialLines(num_trials, experiment.num_epochs)],
            verbose=0,
        ),
    )


def _has_workers(scaling: ScalingConfig | None) -> TypeGuard[ScalingConfig]:
    return scaling is not None and scaling.max_workers > 0


def _request(scaling: ScalingConfig | None) -> Request:
    """Return what a trial asks of the cluster, at the least."""
    if _has_workers(scaling):
        return replace(worker_request(scaling), what="a trial")
    return Request(
        what="a trial", resources=takes_of_trial(scaling), advice="without --use-gpu a trial asks for a CPU alone"
    )


def _build_trainable(
    experiment: Experiment, dataset: PreparedDataset, runs: str, num_concurrent: int, scaling: ScalingConfig | None
) -> Any:  # noqa: ANN401 - Ray's own type of a trainable with resources is private
    if not _has_workers(scaling):
        trial = partial(
            run_alone,
            experiment=experiment,
            dataset=dataset,
            images=open_images(dataset),
            num_threads=threads_per_trial(num_concurrent),
        )
        return tune.with_resources(trial, takes_of_trial(scaling))
    trial = partial(run_with_workers, experiment=experiment, dataset=dataset, scaling=scaling, runs=runs)
    return tune.with_resources(trial, {"CPU": DRIVER_CPUS})


def _describe(result: tune.Result, uri: str, num_epochs: int) -> SweepTrial:
    """Return a trial's row of the report."""
    told = result.metrics_dataframe
    frame = None if told is None or BEST_METRIC not in told else told[told[BEST_METRIC].notna()]  # NaN: within an epoch
    if frame is None or frame.empty:
        reason = _reason(result.error) if result.error else "no epoch was finished"
        return _trial(result, value=None, num_done=0, status=f"failed: {reason}", progress=None)
    num_done = int(frame["epoch"].max())
    if "checkpoint_path" in frame:  # a trial with workers: Ray Train, not Ray Tune, has the checkpoints
        run = str(frame["checkpoint_path"].iloc[-1]).rstrip("/").split("/")[-2]
        progress = RunDirectory(uri=storage.join(uri, _RUNS, run)).best_progress()
    else:
        checkpoint = result.get_best_checkpoint(BEST_METRIC, "max")
        trial = storage.join(uri, str(result.path).rstrip("/").rsplit("/", 1)[-1])
        progress = checkpoint_uri(trial, checkpoint) if checkpoint else None
    status = "failed" if result.error else "finished" if num_done >= num_epochs else "stopped early"
    return _trial(result, value=float(frame[BEST_METRIC].max()), num_done=num_done, status=status, progress=progress)


def _reason(error: Exception) -> str:
    cause = find_cause(error)
    return (describe(cause) if cause else str(error)).splitlines()[0]


def _trial(result: tune.Result, *, value: float | None, num_done: int, status: str, progress: str | None) -> SweepTrial:
    return SweepTrial(
        trial_id=name_in_directory(str(result.path or "")),
        settings=dict(result.config or {}),
        value=value,
        num_epochs=num_done,
        status=status,
        progress=progress,
    )


def _badness(trial: SweepTrial) -> float:
    return -(trial.value if trial.value is not None else -1.0)


def _reopen(uri: str, origin: dict[str, Any]) -> SweepResult:
    """Return a finished sweep's result, if it was started from the same experiment on the same data."""
    best = storage.read_json(storage.join(uri, "best.json"))
    if {name: best.get(name) for name in origin} != origin:
        msg = f"sweep {uri}: already exists, begun from other settings or other data; give another --name"
        raise ConfigError(msg)
    trials = storage.read_json(storage.join(uri, "trials.json"))["trials"]
    return SweepResult(uri=uri, trials=[SweepTrial(**trial) for trial in trials])


def _write(
    uri: str, trials: list[SweepTrial], best: Experiment, dataset: PreparedDataset, origin: dict[str, Any]
) -> None:
    """Write the trials, the page, and last best.json, with which the sweep counts as complete."""
    page = render_sweep(
        trials,
        title="Sweep",
        is_synthetic=dataset.info.is_synthetic,
        metric=BEST_METRIC,
        mode="max",
        facts={"Data": dataset.uri, "Network": best.model.network, "Epochs at most": str(best.num_epochs)},
    )
    rows = [asdict(trial) for trial in trials]
    storage.write_json(storage.join(uri, "trials.json"), {"metric": BEST_METRIC, "trials": rows})
    storage.write_bytes(storage.join(uri, "sweep.html"), page.encode())
    storage.write_json(
        storage.join(uri, "best.json"),
        {
            "experiment": to_dict(best),
            BEST_METRIC: trials[0].value,
            "checkpoint": storage.join(uri, BEST),
            **origin,
        },
    )
