"""sweep.html: all trials of a sweep, best first, including those that were stopped early or failed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from melanoma_ray.reports.page import render_page


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTrial:
    """One trial, as in trials.json."""

    trial_id: str
    settings: Mapping[str, object]
    """Settings that the search chose, by their dotted names on the command line."""
    value: float | None
    """Best value of the validation metric; none if no epoch was finished."""
    num_epochs: int
    """Number of finished epochs."""
    status: str
    """How it ended: finished, stopped early or failed, in words."""
    progress: str | None = None
    """Progress directory of its best epoch; none if no epoch was finished."""


def render_sweep(
    trials: Sequence[SweepTrial],
    *,
    title: str,
    is_synthetic: bool,
    metric: str,
    mode: Literal["max", "min"],
    facts: Mapping[str, str],
) -> str:
    """Return the sweep as one HTML document.

    Args:
        trials: Trials in any order.
        title: Title of the page.
        is_synthetic: Whether the images are synthetic.
        metric: Name of the validation metric that ranks the trials.
        mode: Whether a larger or a smaller value of it is better.
        facts: Names and values of facts about the sweep, in order.
    """
    ranked = sorted(trials, key=lambda trial: _rank(trial.value, mode))
    names = list(dict.fromkeys(name for trial in ranked for name in trial.settings))
    rows = [
        {
            "trial_id": trial.trial_id,
            "settings": [describe_setting(trial.settings.get(name, "")) for name in names],
            "value": _describe_value(trial.value),
            "num_epochs": trial.num_epochs,
            "status": trial.status,
        }
        for trial in ranked
    ]
    has_best = bool(ranked) and _is_usable(ranked[0].value)
    context = {"rows": rows, "setting_names": names, "metric": metric, "mode": mode, "facts": facts}
    return render_page("sweep.html", title=title, is_synthetic=is_synthetic, context={**context, "has_best": has_best})


def describe_setting(value: object) -> str:
    """Return a setting as text for a table: three significant digits, and yes, no and none in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _is_usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rank(value: float | None, mode: Literal["max", "min"]) -> float:
    """Return the sort key; a trial without a finite value comes last, because NaN would make the order arbitrary."""
    if value is None or not math.isfinite(value):
        return math.inf
    return -value if mode == "max" else value


def _describe_value(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if math.isfinite(value) else "not finite"
