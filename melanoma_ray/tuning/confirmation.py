"""The winner of a sweep beside the experiment that it started from, both trained anew: is it better, or was it luck?

The best of many trials is chosen by its value, so the value flatters it. Here both are trained on the same folds, or
with the same seeds, and the differences are taken pair by pair. The seeds are others than the sweep's. One of the folds
is the split by which the winner was chosen, and over seeds all runs are measured on that split: the sentences say so.
"""

from __future__ import annotations

import logging
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ray.train import ScalingConfig

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.errors import ConfigError, DataError, TrainingError
from melanoma_ray.metrics.intervals import quantile
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.training.ensembles import train_folds, train_seeds
from melanoma_ray.training.trainer import Supervision, build_run_config
from melanoma_ray.tuning.objective import check_objective
from melanoma_ray.tuning.options import WORDS, SearchOptions

logger = logging.getLogger(__name__)

CONFIRMATION = "confirmation.json"
_FEWEST = 2
Over = Literal["folds", "seeds"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfirmationPlan:
    """How the winner is confirmed."""

    over: Over
    """What the runs differ by: folds of the data, or seeds."""
    num_seeds: int
    """Number of seeds, 2 or more; unused over folds."""
    scaling: ScalingConfig
    """Ray's number of workers, CPUs and GPUs of each run, with 1 worker or more."""

    def check(self, dataset: PreparedDataset, experiment: Experiment, options: SearchOptions) -> None:
        """Refuse what can't be done, before the sweep begins.

        Args:
            dataset: Prepared dataset.
            experiment: Experiment that the sweep starts from.
            options: How the sweep searches, and what for.

        Raises:
            ConfigError: The dataset has no folds, a fold can't measure the objective, or there are too few seeds.
        """
        num_folds = dataset.info.config.split.num_folds
        if self.over == "folds" and not num_folds:
            msg = f"confirm=folds: {dataset.uri} has none; prepare it with --split.num-folds 5, or confirm over seeds"
            raise ConfigError(msg)
        if self.over == "folds":
            for fold in range(num_folds):
                check_objective(options, experiment, dataset.with_fold(fold), where=f"fold {fold}")
        if self.over == "seeds" and self.num_seeds < _FEWEST:
            msg = f"confirm_seeds={self.num_seeds}: expected {_FEWEST} or more, since an interval needs them"
            raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDifference:
    """The winner's values minus the default's, pair by pair."""

    mean: float
    low: float
    """Lower end of the 95 % interval of the mean."""
    high: float
    """Upper end."""

    @property
    def is_noise(self) -> bool:
        """Whether the interval holds 0: the data don't tell which of the two is better."""
        return self.low <= 0 <= self.high


def compare_paired(winner: Sequence[float], default: Sequence[float], *, over: Over) -> PairedDifference:
    """Return the mean difference of paired values with a 95 % interval of Student's t.

    Folds share most of their training images, so their differences vary together; the variance is enlarged as for
    repeated splits, by 1/k + 1/(k - 1) in place of 1/k.

    Args:
        winner: Value of each of the winner's runs.
        default: Value of each of the default's runs, in the same order.
        over: What the runs differ by.

    Raises:
        ValueError: The numbers of runs differ, or are below 2.

    References:
        Nadeau & Bengio 2003, doi:10.1023/A:1024068626366.

    >>> found = compare_paired([0.70, 0.72, 0.71], [0.60, 0.61, 0.62], over="seeds")
    >>> round(found.mean, 3), found.is_noise
    (0.1, False)
    """
    number = len(winner)
    if number < _FEWEST:
        msg = f"{number} pairs: expected {_FEWEST} or more"
        raise ValueError(msg)
    differences = [one - other for one, other in zip(winner, default, strict=True)]
    mean, variance = statistics.fmean(differences), statistics.variance(differences)
    share = 1 / number + (1 / (number - 1) if over == "folds" else 0.0)
    half = quantile(number - 1) * math.sqrt(variance * share)
    return PairedDifference(mean=mean, low=mean - half, high=mean + half)


def confirm(
    plan: ConfirmationPlan,
    experiments: tuple[Experiment, Experiment],
    dataset: PreparedDataset,
    uri: str,
    *,
    trial: str,
    options: SearchOptions,
) -> list[str]:
    """Train the winner and the default anew, write confirmation.json, and return sentences; finished runs stay.

    A sweep to which trials are added may have another winner later, so each has a directory of its own.

    Args:
        plan: How they are trained.
        experiments: The winner and the default.
        dataset: Prepared dataset.
        uri: Directory of the sweep.
        trial: Name of the winner's trial.
        options: How the sweep searched, and what for.
    """
    metric = options.metric
    winner, default = experiments
    if winner == default:
        return ["The best trial is the experiment that the sweep started from, so there is nothing to confirm."]
    runs = "folds"
    if plan.over == "seeds":  # the sweep's own seed would repeat the run by which the winner was chosen
        runs, (winner, default) = "other-seeds", (replace(one, seed=one.seed + 1) for one in experiments)
    values = [
        _train(plan, experiment, dataset, storage.join(uri, "confirmation"), name, metric)
        for name, experiment in ((f"{trial}-{runs}", winner), (f"default-{runs}", default))
    ]
    difference = compare_paired(values[0], values[1], over=plan.over)
    unsearched = compare_unsearched(values[0], values[1]) if plan.over == "folds" else None
    sentences = describe(difference, len(values[0]), plan.over, WORDS[options.objective], unsearched=unsearched)
    if options.is_population:
        sentences.append(
            "In the population the winner went on from weights of other members, with settings that changed on the "
            "way; here it is trained from the beginning with its last settings."
        )
    storage.write_json(
        storage.join(uri, CONFIRMATION),
        {
            "trial": trial,
            "sentences": sentences,
            "over": plan.over,
            "metric": metric,
            "winner": values[0],
            "default": values[1],
            "difference": difference.mean,
            "low": difference.low,
            "high": difference.high,
            "unsearched_difference": unsearched,
            "is_noise": difference.is_noise,
        },
    )
    return sentences


def recall(uri: str, trial: str) -> list[str]:
    """Return the sentences of an earlier comparison of this trial with the default.

    Args:
        uri: Directory of the sweep.
        trial: Name of the trial that is the best one now.

    Returns:
        The sentences; empty: there are none, or they can't be read. The next comparison writes them again.
    """
    name = storage.join(uri, CONFIRMATION)
    try:
        found = storage.read_json(name) if storage.exists(name) else {}
        return [str(sentence) for sentence in found["sentences"]] if found.get("trial") == trial else []
    except (DataError, KeyError, TypeError) as error:
        logger.warning("%s: can't be read (%s); the same command with --confirm writes it again", name, error)
        return []


def compare_unsearched(winner: Sequence[float], default: Sequence[float]) -> float:
    """Return the mean difference over all folds but fold 0, which is the split by which the winner was chosen.

    Args:
        winner: Value of the winner on each fold.
        default: Value of the default on each fold.
    """
    return statistics.fmean(one - other for one, other in zip(winner[1:], default[1:], strict=True))


def describe(
    difference: PairedDifference, number: int, over: Over, words: str, *, unsearched: float | None = None
) -> list[str]:
    """Return the comparison in sentences.

    Args:
        difference: The comparison.
        number: Number of pairs.
        over: What the runs differ by.
        words: Name of the value.
        unsearched: Mean difference over the folds by which the winner wasn't chosen; none: over seeds all runs are
            measured on the split by which it was chosen.
    """
    found = (
        f"Trained anew on {number} {over}, the winner's {words} differs from the default's by "
        f"{difference.mean:+.3f} (95 % interval {difference.low:+.3f} to {difference.high:+.3f})."
    )
    if unsearched is None:
        chosen = "All of these runs are measured on the validation split by which the winner was chosen."
    else:
        chosen = (
            "One of the folds is the split by which the winner was chosen; without it they differ by "
            f"{unsearched:+.3f}."
        )
    where = " on this split" if unsearched is None else ""
    if difference.is_noise:
        verdict = "The difference is within the noise: the winner isn't shown to be better than the default."
    elif difference.mean > 0 and (unsearched is None or unsearched > 0):
        verdict = f"The winner is better than the default{where}."
    elif difference.mean > 0:
        verdict = "Only the fold by which it was chosen makes the winner better: it isn't shown to be so elsewhere."
    else:
        verdict = f"The winner is worse than the default{where}."
    return [found, chosen, verdict]


def _train(
    plan: ConfirmationPlan, experiment: Experiment, dataset: PreparedDataset, folder: str, name: str, metric: str
) -> list[float]:
    """Return the value of each run at its best epoch."""
    number = dataset.info.config.split.num_folds if plan.over == "folds" else plan.num_seeds
    logger.info("confirmation: trains %s on %d %s, those that aren't trained yet", name, number, plan.over)
    run_config = build_run_config(folder, name, max_failures=1, best_by=metric)
    supervision = Supervision()
    if plan.over == "folds":
        whole = train_folds(experiment, dataset, scaling=plan.scaling, run_config=run_config, supervision=supervision)
        names = [f"fold-{fold}" for fold in range(dataset.info.config.split.num_folds)]
    else:
        whole = train_seeds(
            experiment,
            dataset,
            num_seeds=plan.num_seeds,
            scaling=plan.scaling,
            run_config=run_config,
            supervision=supervision,
        )
        names = [f"seed-{experiment.seed + number}" for number in range(plan.num_seeds)]
    return [_best_value(RunDirectory(uri=storage.join(whole.uri, one)), metric) for one in names]


def _best_value(run: RunDirectory, metric: str) -> float:
    values = [value for record in run.history() if (value := getattr(record, metric)) is not None]
    if not values:
        msg = f"run {run.uri}: has no epoch with a finite loss: training has diverged, so nothing can be compared"
        raise TrainingError(msg)
    return float(max(values))
