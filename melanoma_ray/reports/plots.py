"""The plots of the pages, drawn without pyplot's global state, so that one process can draw many of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter

from melanoma_ray.metrics.calibration import ReliabilityBin
from melanoma_ray.metrics.selective import RiskCoverage
from melanoma_ray.metrics.tables import NetBenefit
from melanoma_ray.reports.svg import FIRST, INK, MUTED, SECOND, SHADE, THIRD
from melanoma_ray.schema import SPLITS

_SPLIT_COLOURS = dict(zip(SPLITS, (FIRST, SECOND, THIRD), strict=True))


class CurvePoint(Protocol):
    """The values of an epoch that the curves show; a run's ``EpochRecord`` has them."""

    @property
    def epoch(self) -> int:
        """Number of the epoch, from 1."""

    @property
    def train_loss(self) -> float:
        """Mean loss over the training images."""

    @property
    def val_loss(self) -> float:
        """Mean loss over the validation images."""

    @property
    def train_accuracy(self) -> float:
        """Accuracy on the training images, in [0, 1]."""

    @property
    def val_accuracy(self) -> float:
        """Accuracy on the validation images, in [0, 1]."""

    @property
    def val_balanced_accuracy(self) -> float:
        """Mean recall over the diagnoses of the validation images, in [0, 1]."""


def plot_class_counts(counts: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw the images of each diagnosis as one bar, divided by split, with the total at its end.

    Args:
        counts: Diagnosis → split → number of images; a split that is not named has none.
    """
    figure, axes = new_figure("class-counts", width=7.2, height=1.0 + 0.34 * len(counts))
    diagnoses = list(counts)
    start = np.zeros(len(diagnoses))
    for split in SPLITS:
        length = np.array([counts[diagnosis].get(split, 0) for diagnosis in diagnoses], dtype=np.float64)
        axes.barh(diagnoses, length, left=start, height=0.68, color=_SPLIT_COLOURS[split], label=split)
        start += length
    for row, total in enumerate(start):
        axes.annotate(
            f"{total:,.0f}", (total, row), xytext=(4, 0), textcoords="offset points", va="center", color=INK, fontsize=9
        )
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("images")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    _add_legend(axes, location="lower right")
    return figure


def plot_curves(history: Sequence[CurvePoint]) -> Figure:
    """Draw loss, and accuracy, by epoch: training dashed, validation solid.

    Args:
        history: One record for each epoch.
    """
    figure = Figure(figsize=(7.2, 3.0), layout="constrained", facecolor="none")
    figure.set_gid("curves")
    losses, accuracies = figure.subplots(1, 2)
    for axes, keys in (
        (losses, ("train_loss", "val_loss")),
        (accuracies, ("train_accuracy", "val_accuracy", "val_balanced_accuracy")),
    ):
        _style(axes)
        for key, colour in zip(keys, (FIRST, SECOND, THIRD), strict=False):
            _draw_curve(axes, history, key, colour)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    losses.set_ylabel("loss")
    accuracies.set_ylabel("accuracy")
    accuracies.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _add_legend(losses, location="best")
    _add_legend(accuracies, location="best")
    return figure


def plot_confusion(matrix: Int[np.ndarray, "target predicted"], diagnoses: Sequence[str]) -> Figure:
    """Draw the counts, each shaded by its share of its row, so that rare diagnoses are as legible as frequent ones.

    Args:
        matrix: Number of images by true (rows) and predicted (columns) diagnosis.
        diagnoses: Names of the rows and columns.
    """
    side = 2.6 + 0.5 * len(diagnoses)
    figure, axes = new_figure("confusion", width=side, height=side - 0.6)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for (row, column), count in np.ndenumerate(matrix):
        shade = float(share[row, column])
        axes.add_patch(
            Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=(SHADE, shade), edgecolor=MUTED, linewidth=0.4)
        )
        weight = "bold" if row == column else "normal"
        axes.text(column, row, f"{count:d}", ha="center", va="center", color=INK, fontsize=9, fontweight=weight)
    axes.set_xlim(-0.5, len(diagnoses) - 0.5)
    axes.set_ylim(len(diagnoses) - 0.5, -0.5)
    axes.set_xticks(range(len(diagnoses)), diagnoses, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(diagnoses)), diagnoses)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    return figure


def plot_roc(
    fpr: Float[np.ndarray, " point"], tpr: Float[np.ndarray, " point"], operating_point: tuple[float, float] | None
) -> Figure:
    """Draw sensitivity against 1 - specificity, with the operating point.

    Args:
        fpr: 1 - specificity of each point, not decreasing.
        tpr: Sensitivity of each point, not decreasing.
        operating_point: (fpr, tpr) at the decision threshold; none: it isn't a point of this curve.
    """
    figure, axes = new_figure("roc", width=4.4, height=4.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="chance")
    axes.plot(fpr, tpr, color=FIRST, linewidth=2, label="this model")
    if operating_point is not None:
        axes.plot(
            [operating_point[0]],
            [operating_point[1]],
            color=SECOND,
            marker="D",
            markersize=8,
            linestyle="none",
            label="decision threshold",
            clip_on=False,
            zorder=3,
        )
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("others referred (1 − specificity)")
    axes.set_ylabel("melanomas referred (sensitivity)")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _add_legend(axes, location="lower right")
    return figure


def plot_reliability(bins: Sequence[ReliabilityBin]) -> Figure:
    """Draw the frequency of what is predicted against its probability, with intervals.

    Args:
        bins: Points of the reliability curve.
    """
    figure, axes = new_figure("reliability", width=4.4, height=4.2)
    x = [one.mean_probability for one in bins]
    y = [one.frequency.value for one in bins]
    below = [one.frequency.value - one.frequency.low for one in bins]
    above = [one.frequency.high - one.frequency.value for one in bins]
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="perfect")
    axes.errorbar(x, y, yerr=[below, above], color=FIRST, linewidth=1.4, marker="o", markersize=5, label="this model")
    axes.set_xlim(-0.01, 1.01)
    axes.set_ylim(-0.01, 1.01)
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("frequency")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _add_legend(axes, location="lower right")
    return figure


def plot_net_benefit(points: Sequence[NetBenefit]) -> Figure:
    """Draw the decision curve: net benefit by the probability from which a referral is worth its cost.

    Args:
        points: Points of the curve, by rising threshold.
    """
    figure, axes = new_figure("benefit", width=5.6, height=3.6)
    x = [one.threshold for one in points]
    axes.fill_between(
        x, [one.model.low for one in points], [one.model.high for one in points], color=SHADE, alpha=0.5, linewidth=0
    )
    axes.plot(x, [one.model.value for one in points], color=FIRST, linewidth=2, label="this model")
    axes.plot(x, [one.refer_all for one in points], color=SECOND, linewidth=1.4, linestyle="--", label="refer all")
    axes.axhline(0, color=MUTED, linewidth=1.2, label="refer nobody")
    best = max(one.model.high for one in points)
    axes.set_ylim(-0.25 * best, 1.1 * best)
    axes.set_xlabel("probability from which a referral is worth its cost")
    axes.set_ylabel("net benefit an image")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _add_legend(axes, location="best")
    return figure


def plot_risk_coverage(curve: RiskCoverage) -> Figure:
    """Draw the error by the share of images that remain, with intervals at some of them.

    Args:
        curve: Points of the curve.
    """
    figure, axes = new_figure("risk-coverage", width=5.6, height=3.6)
    axes.axhline(curve.area_if_random, color=MUTED, linewidth=1, linestyle=(0, (4, 4)), label="doubt at random")
    axes.plot(curve.kept, curve.error, color=FIRST, linewidth=2, label="this model")
    values = [one.error.value for one in curve.points]
    axes.errorbar(
        [one.kept for one in curve.points],
        values,
        yerr=[
            [value - one.error.low for value, one in zip(values, curve.points, strict=True)],
            [one.error.high - value for value, one in zip(values, curve.points, strict=True)],
        ],
        color=FIRST,
        linestyle="none",
        marker="o",
        markersize=5,
    )
    axes.set_xlim(0, 1.02)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("images that remain, the surest first")
    axes.set_ylabel("wrong diagnosis")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _add_legend(axes, location="best")
    return figure


def new_figure(name: str, *, width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure and its axes.

    Args:
        name: The figure's gid, which makes its ids differ from those of the page's other plots.
        width: Width, inches.
        height: Height, inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="none")
    figure.set_gid(name)
    axes = figure.subplots()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(MUTED)
    axes.tick_params(colors=INK, labelsize=9)
    axes.xaxis.label.set_color(INK)
    axes.yaxis.label.set_color(INK)
    axes.grid(visible=True, color=MUTED, alpha=0.35, linewidth=0.6)
    axes.set_axisbelow(True)


def _draw_curve(axes: Axes, history: Sequence[CurvePoint], key: str, colour: str) -> None:
    style = "--" if key.startswith("train") else "-"
    axes.plot(
        [record.epoch for record in history],
        [getattr(record, key) for record in history],
        color=colour,
        linestyle=style,
        linewidth=1.8,
        # A single epoch gives no line, so it is shown as a point.
        marker="o" if len(history) == 1 else None,
        label=key.replace("train_", "train ").replace("val_", "validation ").replace("_", " "),
    )


def _add_legend(axes: Axes, *, location: Literal["best", "lower right"]) -> None:
    axes.legend(loc=location, fontsize=9, frameon=False, labelcolor=INK)
