"""Pages with a little of everything in them, and a reader that judges what came out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser

import numpy as np
from matplotlib.figure import Figure

from melanoma_ray.api import Decision
from melanoma_ray.metrics.calibration import ReliabilityBin
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.ranking import roc_curve
from melanoma_ray.metrics.tables import NetBenefit
from melanoma_ray.reports.audit import AuditImage, AuditPage, AuditTable, Finding, UnreadableImage, render_audit
from melanoma_ray.reports.evaluation import (
    Cell,
    EvaluationPage,
    Gallery,
    GalleryImage,
    Plot,
    Section,
    Table,
    render_evaluation,
)
from melanoma_ray.reports.plots import (
    plot_class_counts,
    plot_confusion,
    plot_curves,
    plot_net_benefit,
    plot_reliability,
    plot_roc,
)
from melanoma_ray.reports.sweep import SweepPage, SweepTrial, render_sweep
from melanoma_ray.reports.sweep_plots import (
    plot_importance,
    plot_learning_curves,
    plot_parallel_coordinates,
    plot_pareto,
)
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import Worklist, WorklistRow, render_worklist
from melanoma_ray.runs.history import EpochRecord

HOSTILE = "<script>alert('x')</script>&\"name"
COUNTS = {"melanoma": {"train": 7, "val": 2, "test": 3}, "nevus": {"train": 11, "test": 1}}
THUMBNAIL = thumbnail_data_uri(np.zeros((8, 8, 3), dtype=np.uint8))
VOID = {"br", "img", "input", "link", "meta"}


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
        if not {"style", "script"} & set(self.open):
            self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


HISTORY = [
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
]
CONFUSION = np.array([[41, 3], [2, 57]])
ROC = roc_curve(np.array([0.9, 0.2, 0.4]), np.array([True, False, False]))
SHARE = Estimate(value=0.75, low=0.6, high=0.85, numerator=30, denominator=40)
RELIABILITY = [
    ReliabilityBin(mean_probability=mean, lowest_probability=0.0, highest_probability=1.0, frequency=SHARE)
    for mean in (0.2, 0.7)
]
BENEFIT = [NetBenefit(threshold=threshold, model=SHARE, refer_all=0.1) for threshold in (0.1, 0.2)]


def evaluation_page() -> EvaluationPage:
    image = GalleryImage(
        image_id="ISIC_1",
        thumbnail=THUMBNAIL,
        diagnosis="melanoma",
        predicted="melanoma",
        probability=0.9,
        decision="refer",
    )
    wrong = replace(image, image_id="ISIC_2", predicted="nevus", decision="unassessable")
    silent = replace(image, image_id="ISIC_3", predicted="no answer", probability=None, decision="unassessable")
    roc = Plot(figure=plot_roc(ROC.fpr, ROC.tpr, (0.25, 0.95)), alt="ROC curve in words.", caption="A ROC curve.")
    counts = Plot(figure=plot_class_counts(COUNTS), alt="Bars in words.", caption="Images by diagnosis.")
    return EvaluationPage(
        title="Evaluation of a model",
        is_synthetic=False,
        referred_for="Melanoma",
        summary=Section(
            anchor="summary",
            title="In short",
            warnings=["The model knows some of the images."],
            points=["Of melanomas, it refers most."],
            tables=[Table(caption="What was evaluated", heads=(), rows=[("Network", "baseline")])],
        ),
        sections=[
            Section(
                anchor="figures",
                title="Figures",
                paragraphs=["Over lesions."],
                plots=[roc, counts],
                tables=[
                    Table(
                        caption="Each figure",
                        heads=("Figure", "Value"),
                        rows=[(Cell("Sensitivity", "Melanomas that are referred."), "0.750")],
                    ),
                    Table(caption="As a table", heads=("True", "nevus"), rows=[("nevus", "57")], is_folded=True),
                ],
            )
        ],
        galleries=[
            Gallery(title="Not referred", explanation="The gravest first.", images=[image, wrong, silent]),
            Gallery(title="Referred without need", explanation="The surest first.", images=[]),
        ],
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
    worklist_row("urgent", 0.9, "refer"),
    worklist_row("less-urgent", 0.5, "refer"),
    worklist_row("strange", 0.3, "unassessable"),
    worklist_row("calm", 0.1, "routine"),
]


def build_worklist(rows: Sequence[WorklistRow], **changes: object) -> Worklist:
    values: dict[str, object] = {
        "title": "Worklist",
        "is_synthetic": False,
        "decision_threshold": 0.45,
        "diagnoses": ("melanoma", "nevus"),
        "worklist_id": "0123",
        "num_by_decision": Counter(row.decision for row in rows if row.decision),
    }
    return Worklist(**values | changes)  # type: ignore[arg-type]


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
    broken = [worklist_row("broken", None)]
    changes = {"title": title, "is_synthetic": is_synthetic, "unreadable": broken, "num_unreadable": 1}
    return render_worklist(build_worklist(WORKLIST, **changes), WORKLIST)


@cache
def sweep(title: str, *, is_synthetic: bool) -> str:
    page = SweepPage(trials=TRIALS, title=title, is_synthetic=is_synthetic, metric="accuracy", facts={"Trials": "4"})
    return render_sweep(page)


@cache
def audit(title: str, *, is_synthetic: bool) -> str:
    return render_audit(replace(audit_page(), title=title, is_synthetic=is_synthetic))


def rows_of(html: str, *names: str) -> list[str]:
    """Names in the order of the page's table rows."""
    headers = re.findall(r'<th scope="row">([\w-]+)', html)
    return [header for header in headers if header in names]


def all_plots() -> list[Figure]:
    return [
        plot_class_counts(COUNTS),
        plot_curves(HISTORY),
        plot_confusion(CONFUSION, ("melanoma", "nevus")),
        plot_roc(ROC.fpr, ROC.tpr, (0.25, 0.95)),
        plot_reliability(RELIABILITY),
        plot_net_benefit(BENEFIT),
        plot_learning_curves([{1: 0.4, 2: 0.6}, {1: 0.3}], "figure"),
        plot_parallel_coordinates(
            [{"rate": 0.1, "kind": "a"}, {"rate": 0.2, "kind": "b"}], [0.6, 0.3], "figure", ["rate", "kind"]
        ),
        plot_importance({"rate": 0.7, "kind": 0.3}),
        plot_pareto(["01", "02", "03"], [1.0, 2.0, 3.0], [0.5, 0.4, 0.7], [True, False, True], "figure"),
    ]
