"""report.html: the figures of one checkpoint on images it wasn't trained on, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int
from markupsafe import Markup
from matplotlib.figure import Figure

from melanoma_ray.api import Decision, describe_share
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.ranking import RocCurve
from melanoma_ray.reports.page import render_page
from melanoma_ray.reports.plots import CurvePoint, plot_class_counts, plot_confusion, plot_curves, plot_roc
from melanoma_ray.reports.svg import figure_to_svg
from melanoma_ray.schema import SPLITS, Scope


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricRow:
    """One line of the table of figures."""

    name: str
    meaning: str
    """Explanation in one sentence."""
    value: float
    interval: tuple[float, float] | None
    """Ends of the 95 % interval; none where the figure has no interval."""
    sample: str
    """Images that it is computed from, such as ``57 of 62 melanomas``."""


def build_metric_row(name: str, meaning: str, estimate: Estimate, *, unit: str = "images") -> MetricRow:
    """Return the row of an estimate.

    Args:
        name: Name of the figure.
        meaning: Explanation in one sentence.
        estimate: Value, interval and counts.
        unit: Name of what the denominator counts, such as ``melanomas``.
    """
    of = "" if estimate.numerator is None else f"{estimate.numerator:,} of "
    return MetricRow(
        name=name,
        meaning=meaning,
        value=estimate.value,
        interval=(estimate.low, estimate.high),
        sample=f"{of}{estimate.denominator:,} {unit}",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ThresholdRow:
    """One threshold of the checkpoint's manifest."""

    name: str
    value: float
    meaning: str
    """What it separates, and how it was chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryImage:
    """One image with its true diagnosis and the model's prediction."""

    image_id: str
    thumbnail: str
    """Small copy of the image as a ``data:`` URI."""
    diagnosis: str
    """True diagnosis."""
    predicted: str
    """Most probable diagnosis."""
    melanoma_probability: float
    """Calibrated probability of melanoma, in [0, 1]."""
    decision: Decision

    @property
    def is_right(self) -> bool:
        """Whether the most probable diagnosis is the true one."""
        return self.predicted == self.diagnosis


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationPage:
    """Everything that the report shows, as plain values."""

    title: str
    is_synthetic: bool
    split: Scope
    """Split that all figures and images of the page come from."""
    facts: Mapping[str, str]
    """Names and values of facts about the model and the data, in order."""
    metrics: Sequence[MetricRow]
    undefined: Sequence[str]
    """One line for each figure that isn't defined, with the reason."""
    thresholds: Sequence[ThresholdRow]
    class_counts: Mapping[str, Mapping[str, int]]
    """Number of images by diagnosis and split."""
    history: Sequence[CurvePoint]
    """One record for each epoch of the training; empty if they are unknown."""
    diagnoses: Sequence[str]
    confusion: Int[np.ndarray, "target predicted"]
    """Number of images by true and predicted diagnosis, in the order of ``diagnoses``."""
    roc: RocCurve | None
    """ROC curve of melanoma against the rest; none where the split lacks melanomas or other images."""
    operating_point: tuple[float, float]
    """(1 - specificity, sensitivity) at the decision threshold; not drawn without ``roc``."""
    gallery: Sequence[GalleryImage]


def render_evaluation(page: EvaluationPage) -> str:
    """Return the report as one HTML document."""
    context = {
        "page": page,
        "splits": SPLITS,
        "counts_plot": _inline(plot_class_counts(page.class_counts)),
        "curves_plot": _inline(plot_curves(page.history)) if page.history else None,
        "confusion_plot": _inline(plot_confusion(page.confusion, page.diagnoses)),
        "confusion_rows": list(zip(page.diagnoses, page.confusion.tolist(), strict=True)),
        "roc_plot": _inline(plot_roc(page.roc.fpr, page.roc.tpr, page.operating_point)) if page.roc else None,
        "referred_others": describe_share(page.operating_point[0]),
        "referred_melanomas": describe_share(page.operating_point[1]),
    }
    return render_page("evaluation.html", title=page.title, is_synthetic=page.is_synthetic, context=context)


def _inline(figure: Figure) -> Markup:
    """Return a plot as SVG that the template doesn't escape again: matplotlib has escaped the texts in it."""
    return Markup(figure_to_svg(figure))  # noqa: S704
