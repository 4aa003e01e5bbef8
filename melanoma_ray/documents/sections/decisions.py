"""Who is referred and who isn't, and what other thresholds would do."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from melanoma_ray.api import DECISION_WORDS, describe_share
from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.thresholds import FixedThresholds, OneWayRow
from melanoma_ray.evaluation.wording import SPARSE_NOTE, Words, fitted_on, short
from melanoma_ray.metrics.tables import TwoWayRow
from melanoma_ray.reports.evaluation import Cell, Section, Table

_UNLIKE = {"energy": "Energy", "distance": "Distance to training images"}
"""Names of what tells images that are unlike those of training."""


def decisions(scored: Scored, figures: Figures, words: Words) -> Section:
    """Return what the decisions do: with unassessable images in either reading, and to other cancers."""
    referral = figures.referral
    names = [name for name, number in _count_truth(scored) if number]
    heads = ("True diagnosis", *DECISION_WORDS.values())
    rows: list[Row] = [
        (
            f"{name} (malignant)" if name in scored.malignant else name,
            *(f"{referral.by_decision[decision].get(name, 0):,}" for decision in DECISION_WORDS),
        )
        for name in names
    ]
    readings: list[Row] = [
        estimate_row("Unassessable", "Share of the images that can't be assessed.", referral.unassessable, "images"),
        estimate_row(
            "Sensitivity, unassessable ones referred",
            "If a person looks at once at what can't be assessed.",
            referral.sensitivity_unassessable_referred,
            words.many,
        ),
        estimate_row(
            "Specificity, unassessable ones referred",
            "The price of it.",
            referral.specificity_unassessable_referred,
            "other images",
        ),
        estimate_row(
            "Sensitivity of assessed images",
            "Without the images that can't be assessed.",
            referral.sensitivity_assessed,
            words.many,
        ),
        estimate_row(
            "Specificity of assessed images", "Without the same.", referral.specificity_assessed, "other images"
        ),
        estimate_row(
            "Sensitivity for any cancer",
            "Share of all malignant images that are referred, whatever the threshold was chosen for.",
            referral.malignancy_sensitivity,
            "malignant images",
        ),
        estimate_row(
            "AUROC of any cancer",
            "By the summed probability of the malignant diagnoses.",
            referral.malignancy_auroc,
            "images",
        ),
    ]
    return Section(
        anchor="decisions",
        title="Who is referred, and who isn't",
        paragraphs=["Sensitivity and specificity above count an unassessable image as not referred."],
        tables=[
            Table(caption="Images by true diagnosis and decision", heads=heads, rows=rows),
            Table(caption="Unassessable images in either reading, and other cancers", heads=HEADS, rows=readings),
        ],
    )


def _count_truth(scored: Scored) -> list[tuple[str, int]]:
    names, counts = np.unique(scored.truth.astype(str), return_counts=True)
    first = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return sorted(first, key=lambda pair: (pair[0] not in scored.referred, pair[0] not in scored.malignant))


def thresholds(subject: Subject, found: FixedThresholds) -> Section:
    """Return the checkpoint's thresholds, and what others that were fixed on the same images do here."""
    manifest = subject.manifest
    calibration, decision, words = manifest.calibration, manifest.experiment.decision, Words.of(manifest.referred_for)
    when, where = fitted_on(manifest)
    rows: list[Row] = [
        (
            Cell(
                f"{words.title} probability",
                "An image with this probability or more is referred. Chosen to refer at least "
                f"{decision.target_sensitivity:.0%} of the {calibration.num_validation_melanomas} images of {where} "
                "that must be.",
            ),
            f"{calibration.decision_threshold:.4g}",
        ),
        (
            Cell(
                _UNLIKE[calibration.out_of_distribution_score],
                "An image with more is unlike those of training, so a person must look. Chosen so that "
                f"{decision.assessable_quantile:.1%} of those images count as assessable.",
            ),
            f"{calibration.out_of_distribution_threshold:.4g}",
        ),
        (
            Cell("Temperature", "The logits are divided by it, so that probabilities agree with frequencies."),
            f"{calibration.temperature:.4g}",
        ),
    ]
    tables = [Table(caption="Thresholds in the checkpoint", heads=("Threshold", "Value"), rows=rows)]
    if calibration.bias:
        pairs = zip(subject.manifest.diagnoses, calibration.bias, strict=True)
        tables.append(
            Table(
                caption="Biases that are added to the logits after the temperature",
                heads=("Diagnosis", "Bias"),
                rows=[(name, f"{bias:+.3f}") for name, bias in pairs],
                is_folded=True,
            )
        )
    if found.rows:
        tables.append(_two_way_table(found.rows, words))
    if found.one_way:
        tables.append(_one_way_table(found.one_way))
    return Section(
        anchor="thresholds",
        title="Thresholds",
        warnings=calibration.doubts,
        paragraphs=[
            f"Chosen {when} on {calibration.num_validation_images:,} images of {where}, and nowhere else.",
            *([found.reason] if found.reason else []),
            *([SPARSE_NOTE] if found.rows or found.one_way else []),
        ],
        tables=tables,
    )


def _one_way_table(rows: Sequence[OneWayRow]) -> Table:
    is_sensitivity = rows[0].sensitivity is not None
    return Table(
        caption="What thresholds that were fixed on those images do here, as far as that is defined",
        heads=("Fixed for", "Threshold", "Sensitivity" if is_sensitivity else "Specificity"),
        rows=[
            (
                f"{100 * row.fixed.target:.0f} % {row.fixed.aim}",
                describe_share(row.fixed.threshold),
                short(row.sensitivity if is_sensitivity else row.specificity),
            )
            for row in rows
        ],
    )


def _two_way_table(two_way: Sequence[TwoWayRow], words: Words) -> Table:
    first = two_way[0].point
    where = (
        f"at the prevalence of these images, {describe_share(first.prevalence)}"
        if first.is_own_prevalence
        else f"at a prevalence of {describe_share(first.prevalence)}, as asked for"
    )
    return Table(
        caption=f"What thresholds that were fixed on those images do here; PPV and the columns after it {where}",
        heads=(
            "Fixed for",
            "Threshold",
            "Sensitivity",
            "Specificity",
            "PPV",
            "NPV",
            f"Referred per {words.one}",
            "Referred of 1,000",
        ),
        rows=[
            (
                f"{100 * row.fixed.target:.0f} % {row.fixed.aim}",
                describe_share(row.fixed.threshold),
                short(row.point.sensitivity),
                short(row.point.specificity),
                short(row.point.ppv),
                short(row.point.npv),
                short(row.point.number_needed_to_refer, 1),
                short(row.point.flagged_per_1000, 0),
            )
            for row in two_way
        ],
    )
