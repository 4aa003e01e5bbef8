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
    """An example of a finding."""

    image_id: str
    caption: str
    thumbnail: str
    """A ``data:`` URI."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """One kind of fault or doubt in the collection."""

    name: str
    meaning: str
    """Why it matters, in a sentence."""
    treatment: str
    """What was done about it, in a sentence."""
    num_images: int
    """Concerned, of the whole collection."""
    examples: Sequence[Sequence[AuditImage]]
    """Images that belong together, such as the copies of one; a few of all."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditTable:
    """A table of the collection, as texts."""

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
    """Everything the audit shows, as plain values."""

    title: str
    is_synthetic: bool
    facts: Mapping[str, str]
    """Of the collection, in order."""
    warnings: Sequence[str]
    """What nobody may overlook, a sentence each."""
    class_counts: Mapping[str, Mapping[str, int]]
    """Diagnosis → split → images kept."""
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
