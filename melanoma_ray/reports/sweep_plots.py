"""The plots of a sweep's page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from melanoma_ray.reports.plots import new_figure
from melanoma_ray.reports.svg import FIRST, INK, MUTED, SECOND

_BEST = 3
"""Number of best trials that are drawn in colour."""


def plot_learning_curves(curves: Sequence[Mapping[int, float]], metric: str) -> Figure:
    """Draw each trial's value by epoch: the best trials in colour, all others in grey, each with a point at its end.

    Args:
        curves: Value by number of the epoch of each trial, best trial first.
        metric: Name of the value.
    """
    figure, axes = new_figure("learning-curves", width=7.2, height=3.4)
    for place, curve in reversed(list(enumerate(curves))):
        if curve:
            epochs = sorted(curve)
            colour = _colour(place)
            axes.plot(epochs, [curve[epoch] for epoch in epochs], color=colour, linewidth=2 if place == 0 else 1)
            axes.plot(epochs[-1:], [curve[epochs[-1]]], color=colour, marker="o", markersize=4)
    axes.set_xlabel("epoch")
    axes.set_ylabel(metric)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
    return figure


def plot_parallel_coordinates(
    settings: Sequence[Mapping[str, object]], values: Sequence[float | None], metric: str, names: Sequence[str]
) -> Figure:
    """Draw each trial as a line over its settings and its value: the best in colour, all others in grey.

    Args:
        settings: Settings of each trial, best trial first.
        values: Value of each; a trial without one isn't drawn.
        metric: Name of the value.
        names: Settings that are drawn, from left to right.
    """
    figure, axes = new_figure("parallel-coordinates", width=1.6 + 1.15 * (len(names) + 1), height=3.8)
    shown = [place for place, value in enumerate(values) if value is not None and math.isfinite(value)]
    columns = [[settings[place].get(name) for place in shown] for name in names] + [[values[place] for place in shown]]
    heights = [_draw_axis(axes, number, column) for number, column in enumerate(columns)]
    for row, place in reversed(list(enumerate(shown))):
        line = [height[row] for height in heights]
        axes.plot(range(len(line)), line, color=_colour(place), linewidth=2 if place == 0 else 1, alpha=0.9)
    labels = [name.rsplit(".", 1)[-1].replace("_", " ") for name in names]
    axes.set_xticks(range(len(columns)), [*labels, metric], rotation=20, ha="right", fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.08, 1.08)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def plot_importance(importance: Mapping[str, float]) -> Figure:
    """Draw the share of each setting in the variation of the trials' values, the largest at the top.

    Args:
        importance: Share in [0, 1] of each setting, by its dotted name.
    """
    figure, axes = new_figure("importance", width=7.2, height=0.8 + 0.32 * len(importance))
    ranked = sorted(importance.items(), key=lambda one: one[1])
    axes.barh([name for name, _ in ranked], [share for _, share in ranked], height=0.62, color=FIRST)
    for row, (_, share) in enumerate(ranked):
        axes.annotate(f"{share:.0%}", (share, row), xytext=(4, 0), textcoords="offset points", va="center", color=INK)
    axes.set_xlabel("share of the variation that the setting explains")
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    return figure


def plot_pareto(
    names: Sequence[str], latency_ms: Sequence[float], values: Sequence[float], is_best: Sequence[bool], metric: str
) -> Figure:
    """Draw quality against the time of an image; those that no other trial beats in both are joined by a line.

    Args:
        names: What each trial is called, in a few letters.
        latency_ms: Time of an image of each trial, milliseconds.
        values: Value of each trial.
        is_best: Whether no other trial is better in both.
        metric: Name of the value.
    """
    figure, axes = new_figure("pareto", width=5.6, height=3.8)
    points = sorted(zip(latency_ms, values, is_best, strict=True))
    others = [(x, y) for x, y, best in points if not best]
    front = [(x, y) for x, y, best in points if best]
    if others:
        axes.plot(*zip(*others, strict=True), color=MUTED, marker="o", linestyle="", label="beaten by another")
    axes.plot(*zip(*front, strict=True), color=FIRST, marker="o", linewidth=1.5, label="beaten by none")
    for name, x, y in zip(names, latency_ms, values, strict=True):
        axes.annotate(name, (x, y), xytext=(4, 4), textcoords="offset points", fontsize=7, color=INK)
    axes.set_xlabel("milliseconds for an image")
    axes.set_ylabel(metric)
    axes.legend(frameon=False, fontsize=8)
    return figure


def _colour(place: int) -> str:
    return FIRST if place == 0 else SECOND if place < _BEST else MUTED


def _draw_axis(axes: Axes, number: int, column: Sequence[object]) -> list[float]:
    """Draw a vertical axis with its ends as text, and return the height of each value on it, in [0, 1]."""
    axes.axvline(number, color=MUTED, linewidth=0.8)
    numbers = [float(str(one)) for one in column if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) == len(column) and numbers:
        low, high = min(numbers), max(numbers)
        is_log = low > 0 and high / low > 20
        scaled = np.log(numbers) if is_log else np.array(numbers)
        ends = (scaled.min(), max(scaled.max() - scaled.min(), 1e-12))
        for height, value in ((0.0, low), (1.0, high)):
            _write(axes, number, height, f"{value:.3g}")
        return [float((one - ends[0]) / ends[1]) for one in scaled]
    words = sorted({str(one) for one in column})
    places = {word: index / max(1, len(words) - 1) for index, word in enumerate(words)}
    for word, height in places.items():
        _write(axes, number, height, word)
    return [places[str(one)] for one in column]


def _write(axes: Axes, number: int, height: float, text: str) -> None:
    axes.annotate(text, (number, height), xytext=(3, 3), textcoords="offset points", fontsize=7, color=INK)
