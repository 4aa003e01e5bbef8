"""What a sweep leaves for people and for other jobs, made from its study.

best.json        the best settings as an experiment, and the address of their checkpoint; written last
best/            that checkpoint
trials.parquet   all trials
sweep.html       the same to read: the best, what was stopped and why, what mattered
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from optuna.trial import FrozenTrial, TrialState

from melanoma_ray import storage
from melanoma_ray.config import Experiment
from melanoma_ray.reports.sweep import SweepTrial
from melanoma_ray.settings import to_dict
from melanoma_ray.tuning.coordination import ERROR, INTERVAL, SECONDS, WHY, Coordinator
from melanoma_ray.tuning.study import NAME, SETTINGS, best_value, latency_of

BEST_JSON = "best.json"
_WORDS = {
    TrialState.COMPLETE: "finished",
    TrialState.PRUNED: "stopped early",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "not finished",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepResult:
    """The results of a sweep."""

    uri: str
    """Directory of the sweep."""
    trials: list[SweepTrial]
    """All trials, best first."""
    objective: str
    """Name of the figure that ranks them, in words."""
    confirmation: tuple[str, ...] = ()
    """Sentences on the comparison of the winner with the default; empty: it wasn't made."""

    @property
    def best_json(self) -> str:
        """File that ``jobs.train`` accepts as EXPERIMENT and other jobs as ``--checkpoint``."""
        return storage.join(self.uri, BEST_JSON)


def rank_trials(coordinator: Coordinator) -> list[SweepTrial]:
    """Return the trials of a study, best first, of equal ones the quicker network; those that failed come last."""
    trials = coordinator.study.trials
    ranked = sorted(
        trials,
        key=lambda trial: (-_or(best_value(trial), -1.0), _or(latency_of(trial), math.inf), trial.number),
    )
    return [_describe(trial, trials) for trial in ranked]


def _describe(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> SweepTrial:
    notes, curve = trial.user_attrs, dict(sorted(trial.intermediate_values.items()))
    error = notes.get(ERROR, "")
    status = _WORDS.get(trial.state, "waiting") + (f": {error}" if error else "")
    parent = notes.get("parent")
    return SweepTrial(
        trial_id=notes[NAME],
        settings=notes[SETTINGS],
        value=best_value(trial),
        num_epochs=len(curve),
        status=status,
        interval=tuple(notes[INTERVAL]) if INTERVAL in notes else None,
        seconds=float(notes.get(SECONDS, 0.0)),
        why=notes.get(WHY, error),
        curve=curve,
        parent=None if parent is None else trials[parent].user_attrs[NAME],
        latency_ms=latency_of(trial),
    )


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def write_table(uri: str, trials: Sequence[SweepTrial]) -> None:
    """Write trials.parquet: a row a trial, and a column for each setting.

    Args:
        uri: Directory of the sweep.
        trials: All trials.
    """
    columns: dict[str, list[Any]] = {
        "trial": [trial.trial_id for trial in trials],
        "status": [trial.status for trial in trials],
        "value": [trial.value for trial in trials],
        "low": [trial.interval[0] if trial.interval else None for trial in trials],
        "high": [trial.interval[1] if trial.interval else None for trial in trials],
        "num_epochs": [trial.num_epochs for trial in trials],
        "seconds": [trial.seconds for trial in trials],
        "why": [trial.why for trial in trials],
        "parent": [trial.parent for trial in trials],
        "latency_ms": [trial.latency_ms for trial in trials],
        "curve": [list(trial.curve.values()) for trial in trials],
    }
    for name in dict.fromkeys(name for trial in trials for name in trial.settings):
        columns[name] = [trial.settings.get(name) for trial in trials]
    storage.write_table(storage.join(uri, "trials.parquet"), pa.table(columns))


def write_best(uri: str, best: Experiment, trial: SweepTrial, checkpoint: str, facts: dict[str, Any]) -> None:
    """Write best.json, with which the sweep counts as complete.

    Args:
        uri: Directory of the sweep.
        best: Experiment of the best trial.
        trial: The best trial.
        checkpoint: Directory of its checkpoint.
        facts: What else is to be known of the sweep.
    """
    content = {"experiment": to_dict(best), "checkpoint": checkpoint, "trial": trial.trial_id, **facts}
    storage.write_json(storage.join(uri, BEST_JSON), content)
