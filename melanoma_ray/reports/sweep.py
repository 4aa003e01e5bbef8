"""sweep.html: all trials of a sweep, best first, including those that were stopped early or failed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.figure import Figure

from melanoma_ray.reports.page import render_page
from melanoma_ray.reports.svg import figure_to_svg
from melanoma_ray.reports.sweep_plots import (
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_pareto,
)

_MOST_DRAWN = 8
"""Settings that parallel coordinates show, at the most: more can't be told apart."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTrial:
    """One trial, as in trials.parquet."""

    trial_id: str
    settings: Mapping[str, object]
    """Settings that the search chose, by their dotted names on the command line."""
    value: float | None
    """Best value of the validation metric; none if no epoch was finished."""
    num_epochs: int
    """Number of finished epochs."""
    status: str
    """How it ended: finished, stopped early or failed, in words."""
    interval: tuple[float, float] | None = None
    """95 % interval of the value, each validation image being its own unit; none: it isn't known."""
    seconds: float = 0.0
    """Time that the trial trained, seconds."""
    why: str = ""
    """Why it was stopped, or its error; empty: it was finished."""
    curve: Mapping[int, float] = field(default_factory=dict)
    """Value after each epoch, by its number from 1."""
    parent: str | None = None
    """Trial whose weights it began with; none: it began anew."""
    latency_ms: float | None = None
    """Time of an image, milliseconds; none: it wasn't measured."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepPage:
    """What is on the page of a sweep."""

    trials: Sequence[SweepTrial]
    """Trials in any order."""
    is_synthetic: bool
    """Whether the images are synthetic."""
    metric: str
    """Name of the validation metric that ranks the trials; larger values are better."""
    facts: Mapping[str, str]
    """Names and values of facts about the sweep, in order."""
    importance: Mapping[str, float] = field(default_factory=dict)
    """Share of each setting in the variation of the trials' values; empty: there are too few trials to tell."""
    title: str = "Sweep"
    confirmation: Sequence[str] = ()
    """Sentences on the comparison of the winner with the default; empty: it wasn't made."""


def render_sweep(page: SweepPage) -> str:
    """Return the sweep as one HTML document."""
    ranked = sorted(page.trials, key=lambda trial: _rank(trial.value))
    names = list(dict.fromkeys(name for trial in ranked for name in trial.settings))
    drawn, front = _choose_drawn(names, page.importance), _name_front(ranked)
    rows = [
        {
            "trial_id": trial.trial_id,
            "settings": [describe_setting(trial.settings.get(name, "")) for name in names],
            "value": _describe_value(trial.value),
            "interval": "–" if trial.interval is None else f"{trial.interval[0]:.3f} to {trial.interval[1]:.3f}",
            "num_epochs": trial.num_epochs,
            "seconds": f"{trial.seconds:,.0f}",
            "status": trial.status.partition(":")[0],
            "parent": trial.parent or "",
            "is_on_front": trial.trial_id in front,
            "latency": "–" if trial.latency_ms is None else f"{trial.latency_ms:.1f}",
        }
        for trial in ranked
    ]
    context = {
        "rows": rows,
        "setting_names": names,
        "metric": page.metric,
        "facts": page.facts,
        "has_best": bool(ranked) and _is_usable(ranked[0].value),
        "has_latency": any(trial.latency_ms is not None for trial in ranked),
        "has_parents": any(trial.parent for trial in ranked),
        "stopped": [trial for trial in ranked if trial.why],
        "num_finished": sum(trial.status == "finished" for trial in ranked),
        "num_undrawn": len(names) - len(drawn),
        "importance_text": ", ".join(f"{name} {share:.0%}" for name, share in page.importance.items()),
        "confirmation": page.confirmation,
        "plots": _draw(page, ranked, drawn, front),
        "colours_of_curves": describe_colours(sum(bool(trial.curve) for trial in ranked)),
        "colours_of_settings": describe_colours(sum(_is_usable(trial.value) for trial in ranked)),
    }
    return render_page("sweep.html", title=page.title, is_synthetic=page.is_synthetic, context=context)


def pareto_front(trials: Sequence[SweepTrial]) -> list[bool]:
    """Return for each trial whether no other one is at least as good and as quick, and better in one of the two."""
    points = [(trial.value, trial.latency_ms) for trial in trials]
    found = []
    for value, latency in points:
        is_beaten = value is None or latency is None
        for other, other_latency in points:
            if value is None or latency is None or other is None or other_latency is None:
                continue
            is_beaten |= other >= value and other_latency <= latency and (other > value or other_latency < latency)
        found.append(not is_beaten)
    return found


def _choose_drawn(names: Sequence[str], importance: Mapping[str, float]) -> list[str]:
    """Return the settings for which parallel coordinates have room: the most important ones, in the table's order."""
    ranked = sorted(names, key=lambda name: -importance.get(name, 0.0))
    return [name for name in names if name in ranked[:_MOST_DRAWN]]


def _name_front(trials: Sequence[SweepTrial]) -> set[str]:
    """Return the ids of the trials that are beaten by none in both quality and time."""
    return {trial.trial_id for trial, is_best in zip(trials, pareto_front(trials), strict=True) if is_best}


def _draw(
    page: SweepPage, ranked: Sequence[SweepTrial], names: Sequence[str], front: Collection[str]
) -> dict[str, Markup]:
    """Return the plots of the page as SVG, by name; empty: there is nothing to draw.

    Args:
        page: The page.
        ranked: Its trials, best first.
        names: Settings that parallel coordinates show.
        front: Ids of the trials that are beaten by none.
    """
    plots: dict[str, Figure] = {}
    if any(trial.curve for trial in ranked):
        plots["curves"] = plot_learning_curves([trial.curve for trial in ranked], page.metric)
    if sum(_is_usable(trial.value) for trial in ranked) > 1:
        settings, values = [trial.settings for trial in ranked], [trial.value for trial in ranked]
        plots["parallel"] = plot_parallel_coordinates(settings, values, page.metric, names)
    if page.importance:
        plots["importance"] = plot_importance(page.importance)
    timed = [trial for trial in ranked if trial.latency_ms is not None and _is_usable(trial.value)]
    if timed:
        latencies, qualities = ([getattr(one, name) for one in timed] for name in ("latency_ms", "value"))
        short = [trial.trial_id.partition("-")[0] for trial in timed]
        plots["pareto"] = plot_pareto(
            short, latencies, qualities, [trial.trial_id in front for trial in timed], page.metric
        )
    drawn = {name: Markup(figure_to_svg(figure)) for name, figure in plots.items()}  # noqa: S704 - our own plots
    return {name: drawn.get(name, Markup()) for name in ("curves", "parallel", "importance", "pareto")}


def describe_colours(num_drawn: int) -> str:
    """Return in words which of the trials in a plot have which colour.

    >>> describe_colours(2)
    'The best trial is blue, the next one is orange'
    """
    if num_drawn == 1:
        return "The trial is blue"
    return f"The best trial is blue, the next {'one is' if num_drawn == 2 else 'two are'} orange"


def describe_setting(value: object) -> str:
    """Return a setting as text for a table: three significant digits, and yes, no and none in words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _is_usable(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _rank(value: float | None) -> float:
    """Return the sort key; a trial without a finite value comes last, because NaN would make the order arbitrary."""
    return math.inf if value is None or not math.isfinite(value) else -value


def _describe_value(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:.4f}" if math.isfinite(value) else "not finite"
