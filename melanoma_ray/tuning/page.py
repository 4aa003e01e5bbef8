"""sweep.html: the report that is read in the morning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.trial import TrialState

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.reports.sweep import SweepPage, SweepTrial, render_sweep
from melanoma_ray.tuning.coordination import SECONDS, Coordinator
from melanoma_ray.tuning.dimension import Dimension
from melanoma_ray.tuning.options import WORDS
from melanoma_ray.tuning.space import SearchSpace
from melanoma_ray.tuning.study import ENDED, SETTINGS, Study, best_value
from melanoma_ray.wording import count

_FEWEST_FINISHED = 4
"""Number of finished trials below which no importance is computed."""


def write_page(
    uri: str,
    trials: Sequence[SweepTrial],
    coordinator: Coordinator,
    dataset: PreparedDataset,
    confirmation: Sequence[str] = (),
) -> None:
    """Write sweep.html.

    Args:
        uri: Directory of the sweep.
        trials: All trials, best first.
        coordinator: The sweep with its study.
        dataset: Prepared dataset.
        confirmation: Sentences on the comparison of the winner with the default.
    """
    experiment, options = coordinator.experiment, coordinator.options
    searched = {dimension.name for dimension in coordinator.space.dimensions}
    page = SweepPage(
        trials=trials,
        is_synthetic=dataset.info.is_synthetic,
        metric=WORDS[options.objective],
        facts={
            "Data": dataset.uri,
            "Network": "searched" if "model.network" in searched else experiment.model.network,
            "Epochs at most": str(experiment.num_epochs),
            "Search": options.search,
            "Stopping": "none" if options.is_population or options.has_latency else options.stopping,
            "Budget": describe_budget(coordinator),
        },
        importance=measure_importance(coordinator.study, coordinator.space),
        title=f"Sweep {uri.rstrip('/').rsplit('/', 1)[-1]}",
        confirmation=confirmation,
    )
    storage.write_bytes(storage.join(uri, "sweep.html"), render_sweep(page).encode())


def describe_budget(coordinator: Coordinator) -> str:
    """Return in words how much training the sweep took, and how much stopping early saved."""
    trials = [trial for trial in coordinator.study.trials if trial.state in ENDED]
    spent = sum(len(trial.intermediate_values) for trial in trials)
    seconds = sum(float(trial.user_attrs.get(SECONDS, 0.0)) for trial in trials)
    text = f"{count(spent, 'epoch')} of training in {count(len(trials), 'trial')}, {seconds / 60:,.1f} minutes"
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    saved = sum(coordinator.last_epoch(one.number) - max(one.intermediate_values, default=0) for one in pruned)
    if saved:
        stopped = f"{count(len(pruned), 'trial was', 'trials were')} stopped early"
        text += f"; {stopped}, which saved up to {count(saved, 'epoch')}"
    return text


def measure_importance(study: Study, space: SearchSpace) -> dict[str, float]:
    """Return the share of each setting in the variation of the finished trials' values, by Optuna, the largest first.

    It is empty where fewer than four trials were finished, or where they don't differ. Optuna leaves out a setting
    that some trial didn't draw, such as one of the experiment's own outside the range, one whose condition wasn't met,
    or all of a population's later generations; so it is given each trial with all settings, however it came to them.

    Args:
        study: The sweep's memory.
        space: Search space.

    References:
        Functional analysis of variance over a random forest: Hutter, Hoos & Leyton-Brown 2014, ICML.
    """
    finished = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    settings = [trial.user_attrs[SETTINGS] for trial in finished]
    values = [best_value(trial) for trial in finished]
    if len(finished) < _FEWEST_FINISHED:
        return {}
    ranges = {one.name: _span(one, [each[one.name] for each in settings]) for one in space.dimensions}
    differing = {name: span for name, span in ranges.items() if not span.single()}
    if len(set(values)) < 2 or not differing:
        return {}
    whole = optuna.create_study(direction="maximize")
    for each, value in zip(settings, values, strict=True):
        params = {name: each[name] for name in differing}
        whole.add_trial(optuna.create_trial(params=params, distributions=differing, value=value))
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=study.seed)
    try:
        found = optuna.importance.get_param_importances(whole, evaluator=evaluator)
    except (RuntimeError, ValueError):
        # RuntimeError: where the values differ by chance alone, no tree of the forest has a variance. ValueError: the
        # forest computes in single precision, and a setting may be larger than any number that this has.
        return {}
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}


def _span(dimension: Dimension, values: Sequence[Any]) -> optuna.distributions.BaseDistribution:
    """Return the smallest distribution of Optuna that has all values of a setting."""
    if dimension.kind == "choice" or not all(isinstance(one, int | float) for one in values):
        return optuna.distributions.CategoricalDistribution(list(dict.fromkeys([*dimension.choices, *values])))
    numbers = [float(one) for one in values]
    if dimension.kind == "int":
        return optuna.distributions.IntDistribution(int(min(numbers)), int(max(numbers)))
    is_log = dimension.kind == "log" and min(numbers) > 0
    return optuna.distributions.FloatDistribution(min(numbers), max(numbers), log=is_log)
