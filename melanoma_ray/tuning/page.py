"""sweep.html: the report that is read in the morning."""

from __future__ import annotations

import math
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import PreparedDataset
from melanoma_ray.reports.sweep import SweepPage, SweepTrial, render_sweep
from melanoma_ray.tuning.coordination import SECONDS, Coordinator
from melanoma_ray.tuning.options import WORDS
from melanoma_ray.tuning.study import ENDED, Study, best_value
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
    page = SweepPage(
        trials=trials,
        is_synthetic=dataset.info.is_synthetic,
        metric=WORDS[options.objective],
        facts={
            "Data": dataset.uri,
            "Network": experiment.model.network,
            "Epochs at most": str(experiment.num_epochs),
            "Search": options.search,
            "Stopping": "none" if options.is_population or options.has_latency else options.stopping,
            "Budget": describe_budget(coordinator),
        },
        importance=measure_importance(coordinator.study),
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
        text += f"; {count(len(pruned), 'trial was', 'trials were')} stopped early, which saved {count(saved, 'epoch')}"
    return text


def measure_importance(study: Study) -> dict[str, float]:
    """Return the share of each setting in the variation of the finished trials' values, by Optuna, the largest first.

    It is empty where fewer than four trials were finished, or where they don't differ.

    References:
        Functional analysis of variance over a random forest: Hutter, Hoos & Leyton-Brown 2014, ICML.
    """
    finished = [trial for trial in study.trials if trial.state is TrialState.COMPLETE]
    values = {best_value(trial) for trial in finished}
    if len(finished) < _FEWEST_FINISHED or len(values) < 2:
        return {}
    found = optuna.importance.get_param_importances(
        study.optuna_study,
        evaluator=optuna.importance.FanovaImportanceEvaluator(seed=study.seed),
        target=lambda trial: trial.values[0],
    )
    return {name: float(share) for name, share in found.items() if math.isfinite(share)}
