"""A sweep: a study proposes settings and stops trials that fall behind, and every trial is a whole training run.

sweep.json       what the sweep was begun with: another command with the same name is refused
study.log        every trial so far (``study.py``), from which the same command goes on
trials/          a directory for each trial, with its progress and curves
best.json …      the results (``results.py``)
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from ray import tune
from ray.train import ScalingConfig

from melanoma_ray import storage
from melanoma_ray.cluster.waiting import Request, wait_for
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import CheckpointError, ConfigError, DataError, TrainingError
from melanoma_ray.loading.stream import open_images
from melanoma_ray.model.checkpoint import BEST, check_files, read_manifest
from melanoma_ray.reports.sweep import SweepTrial
from melanoma_ray.runs.directory import RUN, SWEEP
from melanoma_ray.runs.history import RANKING_METRICS
from melanoma_ray.runs.lock import hold
from melanoma_ray.runs.tracking import TrackingConfig, absolute_mlflow_uri, tracked
from melanoma_ray.settings import experiment_from_dict, to_dict, with_settings
from melanoma_ray.training.finalization import finalize_checkpoint
from melanoma_ray.training.trainer import worker_request
from melanoma_ray.tuning.concurrency import DRIVER_CPUS, RoomLimiter, num_that_fit, takes_of_trial
from melanoma_ray.tuning.confirmation import CONFIRMATION, ConfirmationPlan, confirm, recall
from melanoma_ray.tuning.coordination import Coordinator
from melanoma_ray.tuning.directory import TRIALS
from melanoma_ray.tuning.executor import (
    EndOfTrial,
    PlacesOfTrials,
    StudyScheduler,
    StudySearcher,
    directory_of,
    name_of,
)
from melanoma_ray.tuning.objective import check_objective
from melanoma_ray.tuning.options import WORDS, SearchOptions
from melanoma_ray.tuning.page import write_page
from melanoma_ray.tuning.population import Population
from melanoma_ray.tuning.reporting import TrialLines
from melanoma_ray.tuning.results import BEST_JSON, SweepResult, rank_trials, write_best, write_table
from melanoma_ray.tuning.space import SearchSpace
from melanoma_ray.tuning.study import ENDED, NAME, STUDY, Study, best_value
from melanoma_ray.tuning.trial import TrialContext, build_trainable, threads_per_trial
from melanoma_ray.wording import count

logger = logging.getLogger(__name__)

_OF_RAY = "tune"
"""Ray Tune's own directory, which has nothing that the study hasn't; it goes when the sweep is over."""
_WRITTEN = "trials_sha256"
"""Field of best.json that tells of which trials the results are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPlan:
    """What a sweep is: the experiment around which it searches, where, how, and how long."""

    experiment: Experiment
    """Experiment to start from; the first trial is this experiment itself."""
    space: SearchSpace
    num_trials: int
    """Number of trials, or of members of a population, 1 or more; more than before adds trials."""
    options: SearchOptions = field(default_factory=SearchOptions)
    scaling: ScalingConfig | None = None
    """Ray's number of workers, CPUs and GPUs of each trial; none or 0 workers: each trial trains in its own process,
    on a GPU or a part of one if the scaling has GPUs."""
    mlflow_uri: str | None = None
    """MLflow tracking server or file; none: MLflow isn't used."""
    confirmation: ConfirmationPlan | None = None
    """How the winner is compared with the default, both trained anew; none: it isn't."""

    def __post_init__(self) -> None:
        """Check the number of trials.

        Raises:
            ConfigError: There are none to do.
        """
        if self.num_trials < 1:
            msg = f"num_trials={self.num_trials}: expected 1 or more"
            raise ConfigError(msg)

    @property
    def has_workers(self) -> bool:
        """Whether trials have workers of their own."""
        return self.scaling is not None and self.scaling.max_workers > 0

    def origin(self, dataset: PreparedDataset) -> dict[str, Any]:
        """Return what decides the trials, as sweep.json has it; the number of trials may grow."""
        return {
            "started_from": to_dict(self.experiment),
            "data_fingerprint": dataset.info.fingerprint,
            "space": self.space.to_list(),
            "search": self.options.search,
            "stopping": self.options.stopping,
            "objective": self.options.objective,
            "generation_epochs": self.options.generation_epochs if self.options.is_population else None,
            "members": self.num_trials if self.options.is_population else None,
            "num_workers": "1 or more" if self.has_workers else 0,  # the progress of a trial is kept in another way
        }


def sweep(plan: SweepPlan, dataset: PreparedDataset, uri: str) -> SweepResult:
    """Search, and write the checkpoint of the best trial; a sweep that was interrupted goes on where it was.

    Trials that have ended aren't run again, those that were running go on from their newest progress, and a larger
    number of trials adds some to a finished sweep.

    Args:
        plan: What to do.
        dataset: Prepared dataset, from ``open_dataset``.
        uri: Directory of the sweep.

    Raises:
        ConfigError: The directory has another sweep, or the settings contradict each other.
        DataError: A file by which the sweep would go on is damaged or gone.
        RunHeldError: Another process is running the sweep.
        TrainingError: No trial finished an epoch.
    """
    check_objective(plan.options, plan.experiment, dataset)
    if plan.confirmation is not None:
        plan.confirmation.check(dataset, plan.experiment, plan.options)
    if plan.options.is_population:  # which checks all this, before anything is written
        Population(plan.space, plan.options, plan.num_trials, plan.experiment)
    with hold(uri):
        _claim(plan, dataset, uri)
        study = Study(uri, plan.options, seed=plan.experiment.seed, num_epochs=plan.experiment.num_epochs)
        _check_complete(study, uri)
        context = _build_context(plan, uri)
        coordinator = Coordinator(
            study, plan.space, plan.experiment, num_trials=plan.num_trials, directory_of=context.directory
        )
        with tracked(TrackingConfig(run_uri=uri, mlflow_uri=context.mlflow_uri), plan.experiment):
            for trial in study.trials:
                if trial.state in ENDED and trial.number not in study.tracked:  # the sweep was killed before it told
                    _track(trial.number, study, context)
            num_known = sum(trial.state.is_finished() for trial in study.trials)
            if num_known and coordinator.num_left:
                logger.info("sweep %s: goes on after %d of its trials", uri, num_known)
            if coordinator.num_left:
                _search(plan, dataset, coordinator, context)
            if num_known == len(study.trials) or len(study.trials) < coordinator.num_trials_in_all:
                logger.info("sweep %s: %s", uri, _why_over(plan, coordinator))
            return _conclude(plan, dataset, coordinator, context)


def _claim(plan: SweepPlan, dataset: PreparedDataset, uri: str) -> None:
    """Write what a new sweep is begun with, or check that it is what the sweep that is here was begun with.

    What didn't exist when the sweep was begun counts as its default.
    """
    name, origin = storage.join(uri, SWEEP), plan.origin(dataset)
    if storage.exists(storage.join(uri, RUN)):
        msg = f"sweep {uri}: there is a trained run of this name; give another --name or --storage"
        raise ConfigError(msg)
    if not storage.exists(name):
        _check_unclaimed(uri, name)
        storage.write_json(name, origin)
        return
    old = {"generation_epochs": 1, "members": None, "num_workers": origin["num_workers"], **storage.read_json(name)}
    if "started_from" not in old:
        msg = f"{name}: malformed (it has no 'started_from'); put it back, or give another --name"
        raise DataError(msg)
    if not plan.options.stops_trials:
        old["stopping"] = origin["stopping"]  # it has no effect
    if not plan.options.is_population:
        old["generation_epochs"] = origin["generation_epochs"]  # it has no effect
    try:
        old["started_from"] = to_dict(experiment_from_dict(old["started_from"]))
    except ConfigError as error:
        msg = f"{name}: damaged, or of a newer version ({error}); put it back, or give another --name"
        raise DataError(msg) from error
    differing = [one for one in origin if old.get(one) != _as_json(origin[one])]
    if differing:
        words = {"started_from": "other settings", "data_fingerprint": "other data", "space": _describe(old["space"])}
        what = ", ".join(words.get(one, f"{one}={old.get(one)!r}") for one in differing)
        msg = f"sweep {uri}: was begun from {what}; give the same to go on, or another --name"
        raise ConfigError(msg)


def _describe(space: Any) -> str:  # noqa: ANN401 - whatever JSON has
    """Return a search space as sweep.json has it by the names of its settings and their ranges, which may differ."""
    names = [
        f"{one['name']}={one['kind']}" for one in space if isinstance(one, dict) and {"name", "kind"} <= one.keys()
    ]
    return f"another search space ({', '.join(names)}; {SWEEP} has its ranges)"


def _check_unclaimed(uri: str, name: str) -> None:
    """Refuse a directory with a sweep of which it isn't known what it was begun with."""
    if storage.exists(storage.join(uri, STUDY)):
        msg = f"{name}: is gone, which says what {STUDY} was begun with; put it back, or give another --name"
        raise DataError(msg)
    if storage.exists(storage.join(uri, BEST_JSON)):
        msg = f"sweep {uri}: was made by an earlier version, which kept no study; give another --name"
        raise ConfigError(msg)


def _track(number: int, study: Study, context: TrialContext) -> None:
    """Log what is missing of a trial's curves, and how it has ended, once."""
    if context.end_tracking(study.trial(number)):
        study.note_tracked(number)


def _check_complete(study: Study, uri: str) -> None:
    """Refuse a study that lacks trials which have a directory: they would be run again."""
    folder = storage.absolute(storage.join(uri, TRIALS))
    below = [file.removeprefix(folder + "/").split("/") for file in storage.list_files(folder)]
    # Not what a desktop leaves there, such as .DS_Store.
    found = {names[0] for names in below if len(names) > 1 and names[0][:1].isdigit()}
    unknown, file = found - {str(trial.user_attrs[NAME]) for trial in study.trials}, storage.join(uri, STUDY)
    if unknown:
        what = count(len(unknown), "trial", "trials")
        msg = f"{file}: is gone or damaged, for it lacks {what} of {folder}; put it back, or give another --name"
        raise DataError(msg)
    if not study.trials and storage.exists(storage.join(uri, BEST_JSON)):
        msg = f"{file}: is gone or empty, though there are results; put it back, or give another --name"
        raise DataError(msg)


def _why_over(plan: SweepPlan, coordinator: Coordinator) -> str:
    """Return in words why no trial is added to a sweep that has ended."""
    trials = coordinator.study.trials
    num_trials = len(trials)
    if coordinator.population is not None:
        return f"it has its {count(num_trials, 'trial')} already"
    if num_trials < coordinator.num_trials_in_all and all(best_value(one) is None for one in trials):
        return f"no trial is added, since {count(num_trials, 'trial')} finished no epoch (--patience)"
    if num_trials < coordinator.num_trials_in_all:
        return f"no trial is added, since none of the last {plan.options.patience} was better (--patience)"
    return f"it has {count(num_trials, 'trial')} already, so none is added; a larger --num-trials adds some"


def _as_json(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """Return a value as it is read again: with lists in place of tuples."""
    if isinstance(value, dict):
        return {name: _as_json(one) for name, one in value.items()}
    return [_as_json(one) for one in value] if isinstance(value, list | tuple) else value


def _build_context(plan: SweepPlan, uri: str) -> TrialContext:
    num_concurrent = min(plan.num_trials, num_that_fit(takes_of_trial(plan.scaling)))
    return TrialContext(
        experiment=plan.experiment,
        uri=uri,
        metric=plan.options.metric,
        num_threads=threads_per_trial(num_concurrent),
        scaling=plan.scaling,
        mlflow_uri=absolute_mlflow_uri(plan.mlflow_uri),
        has_latency=plan.options.has_latency,
        max_failures=plan.options.max_failures,
    )


def _search(plan: SweepPlan, dataset: PreparedDataset, coordinator: Coordinator, context: TrialContext) -> None:
    """Run the trials that are left."""
    study, lines = coordinator.study, TrialLines(plan.options, coordinator.num_trials_in_all)
    takes = {"CPU": DRIVER_CPUS} if context.has_workers else takes_of_trial(plan.scaling)
    images = None if context.has_workers else open_images(dataset)

    def tell(number: int) -> None:
        lines.tell(study.trial(number), study.trials)
        _track(number, study, context)

    tuner = tune.Tuner(
        build_trainable(context, dataset, images, takes),
        tune_config=tune.TuneConfig(
            num_samples=coordinator.num_left,
            search_alg=RoomLimiter(StudySearcher(coordinator), takes_of_trial(plan.scaling)),
            scheduler=StudyScheduler(coordinator),
            reuse_actors=not context.has_workers,  # a process of its own takes some seconds to start
            trial_name_creator=name_of,
            trial_dirname_creator=directory_of,
        ),
        run_config=tune.RunConfig(
            storage_path=context.uri,
            name=_OF_RAY,
            failure_config=tune.FailureConfig(max_failures=plan.options.max_failures),
            callbacks=[EndOfTrial(coordinator, tell), *([PlacesOfTrials()] if context.has_workers else [])],
            verbose=0,
        ),
    )
    try:
        wait_for(tuner.fit, _request(plan.scaling, context))
    except EOFError:  # where a disk is full, Ray reads the half of an error that it could write
        storage.check_writable(context.uri)
        raise
    storage.delete_directory(storage.join(context.uri, _OF_RAY))


def _request(scaling: ScalingConfig | None, context: TrialContext) -> Request:
    """Return what a trial asks of the cluster, at the least."""
    if context.has_workers and scaling is not None:
        return replace(worker_request(scaling), what="a trial")
    return Request(
        what="a trial", resources=takes_of_trial(scaling), advice="without --use-gpu a trial asks for a CPU alone"
    )


def _conclude(
    plan: SweepPlan, dataset: PreparedDataset, coordinator: Coordinator, context: TrialContext
) -> SweepResult:
    """Write the results, unless they are those of the trials that there are."""
    uri, trials = context.uri, rank_trials(coordinator)
    result = SweepResult(uri=uri, trials=trials, objective=WORDS[plan.options.objective])
    best = next((trial for trial in trials if trial.value is not None), None)
    if best is None:
        raise TrainingError(_report_failure(result, coordinator, dataset))
    experiment = with_settings(plan.experiment, best.settings)
    earlier = recall(uri, best.trial_id)
    if not _is_written(result, experiment):
        _write(plan, dataset, coordinator, context, result, earlier)
    if plan.confirmation is None:
        return replace(result, confirmation=tuple(earlier))
    experiments = (experiment, plan.experiment)
    sentences = confirm(plan.confirmation, experiments, dataset, uri, trial=best.trial_id, options=plan.options)
    write_page(uri, trials, coordinator, dataset, sentences)
    return replace(result, confirmation=tuple(sentences))


def _report_failure(result: SweepResult, coordinator: Coordinator, dataset: PreparedDataset) -> str:
    """Write the table and the page of a sweep of which no trial finished an epoch; return in a line what happened."""
    if not result.trials:
        return f"sweep {result.uri}: no trial was begun"
    write_table(result.uri, result.trials)
    write_page(result.uri, result.trials, coordinator, dataset)
    first = min(result.trials, key=lambda trial: trial.trial_id)
    return (
        f"sweep {result.uri}: none of {count(len(result.trials), 'trial')} finished an epoch, and sweep.html there "
        f"says why of each; of {first.trial_id}: {first.status}; change that, and give another --name, or the same one "
        "and a larger --num-trials if the settings weren't the reason"
    )


def _is_written(result: SweepResult, experiment: Experiment) -> bool:
    """Return whether all results are in the directory, and are those of these trials as they are now."""
    try:
        storage.read_table(storage.join(result.uri, "trials.parquet"))
        page = storage.read_bytes(storage.join(result.uri, "sweep.html"))
    except (FileNotFoundError, DataError, pa.ArrowInvalid):  # gone, or damaged
        return False
    is_whole = _has_checkpoint(result, experiment) and page.rstrip().endswith(b"</html>")
    return is_whole and storage.read_json(result.best_json).get(_WRITTEN) == _identify(result.trials)


def _identify(trials: Sequence[SweepTrial]) -> str:
    """Return a text that differs where any trial's end, value or length does."""
    facts = [(trial.trial_id, trial.status, trial.value, trial.num_epochs) for trial in trials]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _has_checkpoint(result: SweepResult, experiment: Experiment) -> bool:
    """Return whether best.json names the checkpoint here, and both are those of the best trial and its value."""
    folder, best = storage.join(result.uri, BEST), result.trials[0]
    try:
        found = storage.read_json(result.best_json)
        is_of_best = experiment_from_dict(found.get("experiment")) == experiment
        check_files(folder, read_manifest(folder))
    except (DataError, CheckpointError, ConfigError):  # there is none, or it isn't whole: it is written anew
        return False
    is_of_best &= found.get("trial") == best.trial_id and best.value in (found.get(name) for name in RANKING_METRICS)
    return is_of_best and found.get("checkpoint") == folder


def _write(
    plan: SweepPlan,
    dataset: PreparedDataset,
    coordinator: Coordinator,
    context: TrialContext,
    result: SweepResult,
    confirmation: Sequence[str],
) -> None:
    """Write the checkpoint of the best trial, the table, the page, and last best.json."""
    uri, best = result.uri, result.trials[0]
    experiment, checkpoint = with_settings(plan.experiment, best.settings), storage.join(uri, BEST)
    if not _has_checkpoint(result, experiment):
        progress = context.directory(best.trial_id).best()
        if progress is None:
            msg = f"sweep {uri}: the weights of trial {best.trial_id} are gone; give another --name"
            raise TrainingError(msg)
        use_gpu = bool(plan.scaling and plan.scaling.use_gpu)
        finalize_checkpoint([progress], checkpoint, experiment, dataset, use_gpu=use_gpu)
    write_table(uri, result.trials)
    write_page(uri, result.trials, coordinator, dataset, confirmation)
    old = storage.join(uri, CONFIRMATION)
    if not confirmation and storage.exists(old):  # of a trial that was the best one then
        storage.delete_file(old)
    facts = {
        plan.options.metric: best.value,
        "num_trials": len(result.trials),
        _WRITTEN: _identify(result.trials),
        **plan.origin(dataset),
    }
    write_best(uri, experiment, best, checkpoint, facts)
