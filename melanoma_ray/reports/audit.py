"""audit.html: what was found in a collection of images, and what was done about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from melanoma_ray.reports.page import render_page
from melanoma_ray.reports.plots import plot_class_counts
from melanoma_ray.reports.svg import figure_to_svg
from melanoma_ray.schema import SPLITS


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditImage:
    """An image that is an example of a finding."""

    image_id: str
    caption: str
    thumbnail: str
    """Small copy of the image as a ``data:`` URI."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One kind of problem that was found in the collection."""

    name: str
    meaning: str
    """Why it matters, in one sentence."""
    treatment: str
    """What was done about it, in one sentence."""
    num_images: int
    """Number of images of the collection that are concerned."""
    examples: Sequence[Sequence[AuditImage]]
    """A few of the concerned images, in groups of images that belong together, such as copies of one image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditTable:
    """A table about the collection, as texts."""

    title: str
    note: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class UnreadableImage:
    """A row of quarantine.parquet."""

    path: str
    fault: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditPage:
    """Everything that the audit shows, as plain values."""

    title: str
    is_synthetic: bool
    facts: Mapping[str, str]
    """Names and values of facts about the collection, in order."""
    warnings: Sequence[str]
    """Findings that nobody may overlook, one sentence each."""
    class_counts: Mapping[str, Mapping[str, int]]
    """Number of kept images by diagnosis and split."""
    findings: Sequence[Finding]
    tables: Sequence[AuditTable]
    unreadable: Sequence[UnreadableImage]


def render_audit(page: AuditPage) -> str:
    """Return the audit as one HTML document."""
    context = {
        "page": page,
        "splits": SPLITS,
        # Marked as safe: matplotlib has escaped the texts in it.
        "counts_plot": Markup(figure_to_svg(plot_class_counts(page.class_counts))),  # noqa: S704
    }
    return render_page("audit.html", title=page.title, is_synthetic=page.is_synthetic, context=context)
