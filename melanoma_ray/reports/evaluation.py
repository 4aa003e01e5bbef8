"""report.html: sections of sentences, tables and plots, with the images that were answered wrongly first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup
from matplotlib.figure import Figure

from melanoma_ray.api import Decision
from melanoma_ray.reports.page import render_page
from melanoma_ray.reports.svg import figure_to_svg


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table, with what it means where that isn't plain."""

    text: str
    meaning: str = ""
    """Explanation in one sentence; empty: none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table; the first column names the rows, the others have numbers."""

    caption: str
    heads: tuple[str, ...]
    rows: Sequence[tuple[Cell | str, ...]]
    is_folded: bool = False
    """Whether it is shown only when its caption is opened."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Plot:
    """A plot, in words too."""

    figure: Figure
    alt: str
    """What it shows, for who can't see it."""
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Section:
    """A part of the page under one heading."""

    anchor: str
    """Word that identifies it within the page."""
    title: str
    warnings: Sequence[str] = ()
    """Sentences in bold, before the others."""
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    """Items of a list."""
    plots: Sequence[Plot] = ()
    tables: Sequence[Table] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GalleryImage:
    """One image with its true diagnosis and the model's answer."""

    image_id: str
    thumbnail: str
    """Small copy of the image as a ``data:`` URI."""
    diagnosis: str
    """True diagnosis."""
    predicted: str
    """Predicted diagnosis, or why there is none."""
    probability: float | None
    """Calibrated probability of what is referred for, in [0, 1]; none: there is no answer."""
    decision: Decision

    @property
    def is_right(self) -> bool:
        """Whether the predicted diagnosis is the true one."""
        return self.predicted == self.diagnosis


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Images under one heading."""

    title: str
    explanation: str
    images: Sequence[GalleryImage]


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class EvaluationPage:
    """Everything that the report shows, as plain values."""

    title: str
    is_synthetic: bool
    referred_for: str
    """Word for what the probability is of, such as ``Melanoma``."""
    summary: Section
    sections: Sequence[Section]
    galleries: Sequence[Gallery] = field(default=())


def render_evaluation(page: EvaluationPage) -> str:
    """Return the report as one HTML document."""
    context = {"page": page, "draw": _inline}
    return render_page("evaluation.html", title=page.title, is_synthetic=page.is_synthetic, context=context)


def _inline(figure: Figure) -> Markup:
    """Return a plot as SVG that the template doesn't escape again: matplotlib has escaped the texts in it."""
    return Markup(figure_to_svg(figure))  # noqa: S704
