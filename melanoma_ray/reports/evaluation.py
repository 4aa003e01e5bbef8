"""report.html: how good one checkpoint is on images it has never seen, with the doubt beside each figure."""

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
    """One sentence for someone who doesn't know the name."""
    value: float
    interval: tuple[float, float] | None
    """95 %; none where the figure has no interval."""
    sample: str
    """The images behind it, such as ``57 of 62 melanomas``."""


def build_metric_row(name: str, meaning: str, estimate: Estimate, *, unit: str = "images") -> MetricRow:
    """Return the row of an estimate; ``unit`` names what its denominator counts."""
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
    """What happens at and above it, and what it was chosen for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryImage:
    """One image with the truth and what the model makes of it."""

    image_id: str
    thumbnail: str
    """A ``data:`` URI."""
    diagnosis: str
    """The true one."""
    predicted: str
    melanoma_probability: float
    """Calibrated, in [0, 1]."""
    decision: Decision

    @property
    def is_right(self) -> bool:
        """Whether the most probable diagnosis is the true one."""
        return self.predicted == self.diagnosis


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationPage:
    """Everything the report shows, as plain values."""

    title: str
    is_synthetic: bool
    split: Scope
    """That all figures and images of the page come from."""
    facts: Mapping[str, str]
    """Of the model and the data, in order."""
    metrics: Sequence[MetricRow]
    undefined: Sequence[str]
    """Why a figure is missing, a line each."""
    thresholds: Sequence[ThresholdRow]
    class_counts: Mapping[str, Mapping[str, int]]
    """Diagnosis → split → images."""
    history: Sequence[CurvePoint]
    """One record for each epoch of the training; empty if they aren't known."""
    diagnoses: Sequence[str]
    confusion: Int[np.ndarray, "target predicted"]
    """Images, in the order of ``diagnoses``."""
    roc: RocCurve | None
    """None where the split lacks melanoma, or anything else."""
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
    """Mark a plot as safe: matplotlib has escaped the texts in it."""
    return Markup(figure_to_svg(figure))  # noqa: S704
