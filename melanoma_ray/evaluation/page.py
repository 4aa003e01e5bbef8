"""The report's page: a summary that a dermatologist understands, the errors, then every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from melanoma_ray.api import describe_share
from melanoma_ray.evaluation.comparison import Comparison, Earlier
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.sections import comparisons, curves, decisions, doubt, groups, overview
from melanoma_ray.evaluation.subgroups import Subgroup
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import Words, describe_unseen, of_a_hundred
from melanoma_ray.metrics.tables import TwoWayRow
from melanoma_ray.reports.evaluation import EvaluationPage, Gallery, GalleryImage, Section
from melanoma_ray.reports.plots import CurvePoint
from melanoma_ray.reports.thumbnails import thumbnail_data_uri

_GALLERY_SIZE = 12
_TITLES = {"folds": "Evaluation by cross-validation"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Everything that the page is made of."""

    subject: Subject
    scored: Scored
    figures: Figures
    unseen: Figures | None
    """Figures of the images that the model doesn't know, where it knows others."""
    two_way: Sequence[TwoWayRow]
    subgroups: Sequence[Subgroup]
    comparison: Comparison | None
    earlier: Earlier | None
    history: Sequence[CurvePoint]
    """One record for each epoch of the training; empty if they are unknown."""


def build_page(evidence: Evidence) -> EvaluationPage:
    """Return the page as plain values and plots."""
    subject, figures = evidence.subject, evidence.figures
    words = Words.of(evidence.scored.about)
    built = [
        overview.main_figures(figures, words, evidence.unseen),
        None if evidence.earlier is None else comparisons.beside(evidence.earlier, figures, words),
        None if evidence.comparison is None else comparisons.comparison(evidence.comparison, words),
        decisions.decisions(evidence.scored, figures, words),
        decisions.thresholds(subject, words, evidence.two_way),
        curves.ranking(figures, words),
        curves.calibration(figures, words),
        curves.net_benefit(figures, words),
        doubt.risk_coverage(figures.uncertainty.risk_coverage),
        doubt.prediction_sets(figures.uncertainty.sets, subject.manifest),
        groups.by_diagnosis(figures),
        groups.subgroups(evidence.subgroups, words),
        groups.confusion(figures, evidence.scored.diagnoses),
        overview.participants(subject),
        overview.training(subject, evidence.history),
    ]
    return EvaluationPage(
        title=_TITLES.get(subject.split, f"Evaluation on the {subject.split} split"),
        is_synthetic=subject.dataset.info.is_synthetic or subject.manifest.is_synthetic,
        referred_for=words.title,
        summary=_summarise(evidence, words),
        sections=[section for section in built if section is not None],
        galleries=_galleries(evidence, words),
    )


def _summarise(evidence: Evidence, words: Words) -> Section:
    """Return the first section: what a reader needs who reads no other."""
    figures, subject = evidence.figures, evidence.subject
    sentence, is_praise = describe_unseen(subject)
    warnings = [sentence] if is_praise else []
    points = [] if is_praise else [sentence]
    if subject.left_out:
        how = ", ".join(f"{number:,} {reason}" for reason, number in subject.left_out.items())
        points.append(f"{sum(subject.left_out.values()):,} images that the model knows were left out ({how}).")
    sensitivity, specificity = figures.estimates.get("sensitivity"), figures.estimates.get("specificity")
    if sensitivity is not None:
        points.insert(0, f"Of {words.many}, the model refers {of_a_hundred(sensitivity)}.")
        if sensitivity.is_sparse:
            warnings.append(f"There are too few {words.many} to say how many it would find elsewhere.")
    if specificity is not None:
        points.insert(1, f"Of other images, it leaves {of_a_hundred(specificity)} to routine or to a person's look.")
    points += _describe_heap(evidence.scored, words)
    if (point := figures.details.point) is not None and point.number_needed_to_refer is not None:
        points.append(
            f"Among these images, where {describe_share(point.prevalence)} are {words.many}, "
            f"{point.number_needed_to_refer.value:.1f} are referred for each {words.one} found. "
            "Where they are rarer, more are."
        )
    return Section(
        anchor="summary", title="In short", warnings=warnings, points=points, tables=[overview.facts(subject, figures)]
    )


def _describe_heap(scored: Scored, words: Words) -> list[str]:
    """Say what routine would contain, and what can't be assessed."""
    routine, unassessable = scored.is_decided("routine"), scored.is_decided("unassessable")
    missed = int((routine & scored.is_melanoma).sum())
    others = int((routine & scored.is_malignant & ~scored.is_melanoma).sum())
    said = [
        f"Of the {int(routine.sum()):,} images left to routine, {missed:,} {'is' if missed == 1 else 'are'} "
        f"{words.one if missed == 1 else words.many}"
        + (f" and {others:,} another cancer." if others == 1 else f" and {others:,} other cancers.")
    ]
    if unassessable.any():
        melanomas = int((unassessable & scored.is_melanoma).sum())
        said.append(
            f"{int(unassessable.sum()):,} images can't be assessed, {melanomas:,} {words.many} among them: "
            "a person must look at them."
        )
    return said


def _galleries(evidence: Evidence, words: Words) -> list[Gallery]:
    """Return the gravest errors, then the needless referrals, then a sample of all."""
    scored = evidence.scored
    score = np.nan_to_num(np.asarray(scored.score, np.float64), nan=-1.0)
    missed = np.flatnonzero(scored.is_melanoma & ~scored.is_referred)
    needless = np.flatnonzero(~scored.is_melanoma & scored.is_referred)
    spread = np.linspace(0, len(score) - 1, min(_GALLERY_SIZE, len(score))).round().astype(int)
    return [
        Gallery(
            title=f"{words.many.capitalize()} that were not referred",
            explanation=f"{_of(len(missed))} {words.many} that were not referred, those first which the model held for "
            "the least likely.",
            images=_show(evidence, missed[np.argsort(score[missed])][:_GALLERY_SIZE]),
        ),
        Gallery(
            title="Referred without need",
            explanation=f"{_of(len(needless))} other images that were referred, those first of which the model was "
            "surest.",
            images=_show(evidence, needless[np.argsort(-score[needless])][:_GALLERY_SIZE]),
        ),
        *_changed_sides(evidence),
        Gallery(
            title="A sample of all",
            explanation="Images spread evenly over the evaluated ones, in the order of their paths.",
            images=_show(evidence, np.unique(spread)),
        ),
    ]


def _of(number: int) -> str:
    """Return how many of some images are shown."""
    return f"All {number:,}" if number <= _GALLERY_SIZE else f"{_GALLERY_SIZE} of {number:,}"


def _changed_sides(evidence: Evidence) -> list[Gallery]:
    if evidence.comparison is None:
        return []
    changed = evidence.comparison.changed
    return [
        Gallery(
            title="Changed sides",
            explanation=f"{_of(len(changed))} images that one of the two models refers and the other doesn't, with "
            "this model's answer.",
            images=_show(evidence, changed[:_GALLERY_SIZE]),
        )
    ]


def _show(evidence: Evidence, rows: np.ndarray) -> list[GalleryImage]:
    if not len(rows):
        return []
    images, scored = evidence.subject.images.iloc[rows], evidence.scored
    crops = evidence.subject.dataset.load_pixels(list(images["path"]))
    return [
        GalleryImage(
            image_id=str(image_id),
            thumbnail=thumbnail_data_uri(crop),
            diagnosis=str(diagnosis),
            predicted=scored.diagnoses[scored.predicted[row]] if scored.predicted[row] >= 0 else "no answer",
            probability=float(scored.score[row]) if scored.predicted[row] >= 0 else None,
            decision=scored.predictions.decision[row],
        )
        for row, crop, image_id, diagnosis in zip(rows, crops, images["image_id"], images["diagnosis"], strict=True)
    ]
