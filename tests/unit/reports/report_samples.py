"""Pages with a little of everything in them, and a reader that judges what came out."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
from matplotlib.figure import Figure

from melanoma_ray.api import Decision
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.ranking import roc_curve
from melanoma_ray.reports.audit import AuditImage, AuditPage, AuditTable, Finding, UnreadableImage, render_audit
from melanoma_ray.reports.evaluation import (
    EvaluationPage,
    GalleryImage,
    MetricRow,
    ThresholdRow,
    build_metric_row,
    render_evaluation,
)
from melanoma_ray.reports.plots import plot_class_counts, plot_confusion, plot_curves, plot_roc
from melanoma_ray.reports.sweep import SweepTrial, render_sweep
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import WorklistRow, render_worklist
from melanoma_ray.runs.history import EpochRecord

HOSTILE = "<script>alert('x')</script>&\"name"
COUNTS = {"melanoma": {"train": 7, "val": 2, "test": 3}, "nevus": {"train": 11, "test": 1}}
THUMBNAIL = thumbnail_data_uri(np.zeros((8, 8, 3), dtype=np.uint8))
VOID = {"br", "img", "link", "meta"}


class Reader(HTMLParser):
    """Reads a page as a browser would, far enough to judge it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def evaluation_page() -> EvaluationPage:
    estimate = Estimate(value=0.75, low=0.6, high=0.85, numerator=30, denominator=40)
    image = GalleryImage(
        image_id="ISIC_1",
        thumbnail=THUMBNAIL,
        diagnosis="melanoma",
        predicted="melanoma",
        melanoma_probability=0.9,
        decision="refer",
    )
    return EvaluationPage(
        title="Evaluation of a model",
        is_synthetic=False,
        split="test",
        facts={"Network": "baseline"},
        metrics=[
            build_metric_row("Sensitivity", "Melanomas that are referred.", estimate, unit="melanomas"),
            MetricRow(name="Brier score", meaning="Squared error.", value=0.1, interval=None, sample="40 images"),
        ],
        undefined=["specificity is undefined: all 40 images are melanoma"],
        thresholds=[ThresholdRow(name="Decision threshold", value=0.3125, meaning="From here an image is referred.")],
        class_counts=COUNTS,
        history=[
            EpochRecord(
                epoch=epoch,
                train_loss=1.0 / epoch,
                val_loss=1.1 / epoch,
                train_accuracy=0.5,
                val_accuracy=0.4,
                val_balanced_accuracy=0.3,
                step=epoch,
                images_per_s=1.0,
                waiting_fraction=0.0,
                first_batch_s=0.0,
                ended_at=0.0,
            )
            for epoch in (1, 2)
        ],
        diagnoses=("melanoma", "nevus"),
        confusion=np.array([[41, 3], [2, 57]]),
        roc=roc_curve(np.array([0.9, 0.2, 0.4]), np.array([True, False, False])),
        operating_point=(0.25, 0.95),
        gallery=[image, replace(image, image_id="ISIC_2", predicted="nevus", decision="unassessable")],
    )


def worklist_row(image_id: str, probability: float | None, decision: Decision | None = None) -> WorklistRow:
    return WorklistRow(
        image_id=image_id,
        path=f"folder/{image_id}.jpg",
        melanoma_probability=probability,
        decision=decision,
        top_diagnosis="nevus",
        thumbnail=THUMBNAIL,
        error=None if decision else "truncated: half of it is missing",
    )


WORKLIST = [
    worklist_row("calm", 0.1, "routine"),
    worklist_row("calm-but-higher", 0.4, "routine"),
    worklist_row("broken", None),
    worklist_row("strange", 0.3, "unassessable"),
    worklist_row("urgent", 0.9, "refer"),
    worklist_row("less-urgent", 0.5, "refer"),
]


def trial(trial_id: str, value: float | None, **settings: object) -> SweepTrial:
    return SweepTrial(trial_id=trial_id, settings=settings, value=value, num_epochs=3, status="finished")


TRIALS = [trial("low", 0.5), trial("none", None), trial("high", 0.75), trial("not-finite", float("nan"))]


def audit_page() -> AuditPage:
    image = AuditImage(image_id="ISIC_1", caption="nevus", thumbnail=THUMBNAIL)
    finding = Finding(
        name="Same image twice", meaning="Leaks.", treatment="One was kept.", num_images=1234, examples=[[image, image]]
    )
    return AuditPage(
        title="Audit",
        is_synthetic=False,
        facts={"Files": "9"},
        warnings=["Of 80 images of seborrheic keratosis, 2 remain."],
        class_counts=COUNTS,
        findings=[finding],
        tables=[AuditTable(title="Sizes", note="Of all.", columns=["Diagnosis", "Width, px"], rows=[["nevus", "450"]])],
        unreadable=[UnreadableImage(path="a/b.jpg", fault="truncated", detail="half of it")],
    )


@cache
def evaluation(title: str, *, is_synthetic: bool) -> str:
    return render_evaluation(replace(evaluation_page(), title=title, is_synthetic=is_synthetic))


@cache
def worklist(title: str, *, is_synthetic: bool) -> str:
    return render_worklist(WORKLIST, title=title, is_synthetic=is_synthetic, decision_threshold=0.45)


@cache
def sweep(title: str, *, is_synthetic: bool) -> str:
    return render_sweep(
        TRIALS, title=title, is_synthetic=is_synthetic, metric="accuracy", mode="max", facts={"Trials": "4"}
    )


@cache
def audit(title: str, *, is_synthetic: bool) -> str:
    return render_audit(replace(audit_page(), title=title, is_synthetic=is_synthetic))


def rows_of(html: str, *names: str) -> list[str]:
    """Names in the order of the page's table rows."""
    headers = re.findall(r'<th scope="row">([\w-]+)', html)
    return [header for header in headers if header in names]


def all_plots() -> list[Figure]:
    page = evaluation_page()
    assert page.roc is not None
    return [
        plot_class_counts(COUNTS),
        plot_curves(page.history),
        plot_confusion(page.confusion, page.diagnoses),
        plot_roc(page.roc.fpr, page.roc.tpr, page.operating_point),
    ]
