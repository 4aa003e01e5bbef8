"""The report's page: a summary that a dermatologist understands, the errors, then every figure."""

from __future__ import annotations

from melanoma_ray.api import describe_share
from melanoma_ray.documents.evidence import Evidence
from melanoma_ray.documents.galleries import build_galleries
from melanoma_ray.documents.sections import (
    comparisons,
    curves,
    decisions,
    doubt,
    explanations,
    groups,
    overview,
    readers,
    robustness,
    shortcuts,
)
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import Words, describe_unseen, of_a_hundred
from melanoma_ray.reports.evaluation import EvaluationPage, Section
from melanoma_ray.wording import count


def build_page(evidence: Evidence) -> EvaluationPage:
    """Return the page as plain values and plots."""
    subject, figures = evidence.subject, evidence.figures
    words = Words.of(evidence.scored.about)
    built = [
        overview.main_figures(figures, words, evidence.unseen),
        None if evidence.earlier is None else comparisons.beside(evidence.earlier, figures, words),
        None if evidence.comparison is None else comparisons.comparison(evidence.comparison, words),
        readers.readers(evidence.readers, words),
        decisions.decisions(evidence.scored, figures, words),
        decisions.thresholds(subject, evidence.thresholds),
        curves.ranking(figures, words, is_decided_by_it=subject.about == subject.manifest.referred_for),
        curves.calibration(figures, words),
        curves.net_benefit(figures, words),
        robustness.robustness(
            evidence.robustness,
            Words.of(subject.manifest.referred_for),
            subject.manifest.calibration.decision_threshold,
        ),
        shortcuts.shortcuts(evidence.shortcuts, words),
        explanations.explanations(evidence.explanations),
        doubt.risk_coverage(figures.uncertainty.risk_coverage),
        doubt.prediction_sets(figures.uncertainty.sets, subject.manifest),
        groups.by_diagnosis(figures),
        groups.subgroups(evidence.subgroups, words),
        groups.confusion(figures, evidence.scored.diagnoses),
        overview.participants(subject),
        overview.training(subject, evidence.history),
    ]
    return EvaluationPage(
        title=_title(subject),
        is_synthetic=subject.dataset.info.is_synthetic or subject.manifest.is_synthetic,
        referred_for=Words.of(subject.manifest.referred_for).title,
        summary=_summarise(evidence, words),
        sections=[section for section in built if section is not None],
        galleries=build_galleries(evidence, words),
    )


def _title(subject: Subject) -> str:
    if subject.is_whole_collection:
        return "Evaluation on a whole collection"
    if subject.split == "folds":
        return "Evaluation by cross-validation"
    return f"Evaluation on the {subject.split} split"


def _summarise(evidence: Evidence, words: Words) -> Section:
    """Return the first section: what a reader needs who reads no other."""
    figures, subject = evidence.figures, evidence.subject
    sentence, is_praise = describe_unseen(subject)
    warnings = [sentence] if is_praise else []
    points = [] if is_praise else [sentence]
    if subject.left_out:
        how = ", ".join(f"{number:,} {reason}" for reason, number in subject.left_out.items())
        points.append(f"{sum(subject.left_out.values()):,} images that the model knows were left out ({how}).")
    warnings += _warn(evidence)
    points += _describe_left_out(subject)
    sensitivity, specificity = figures.estimates.get("sensitivity"), figures.estimates.get("specificity")
    if sensitivity is None:
        warnings.append(f"There are no {words.many} among these images, so how many it would find can't be told.")
    else:
        points.insert(0, f"Of {words.many}, the model refers {of_a_hundred(sensitivity)}.")
        if sensitivity.is_sparse:
            warnings.append(f"There are too few {words.many} to say how many it would find elsewhere.")
    if specificity is None:
        warnings.append(f"All of these images are {words.many}, so how many others it would refer can't be told.")
    else:
        points.insert(1, f"Of other images, it leaves {of_a_hundred(specificity)} to routine or to a person's look.")
    points += _describe_heap(evidence.scored, words)
    if (point := figures.details.point) is not None and point.number_needed_to_refer is not None:
        points.append(
            f"Among these images, where {describe_share(point.prevalence)} are {words.many}, "
            f"{point.number_needed_to_refer.value:.1f} are referred for each {words.one} found. "
            "Where they are rarer, more are."
        )
    return Section(
        anchor="summary",
        title="In short",
        warnings=warnings,
        points=points,
        tables=[overview.facts(subject, evidence.scored, figures)],
    )


def _warn(evidence: Evidence) -> list[str]:
    """Return what a reader must know before any figure."""
    subject, figures = evidence.subject, evidence.figures
    warnings = []
    if figures.num_unanswered:
        number = count(figures.num_unanswered, "image")
        warnings.append(
            f"The network's answer isn't finite for {number} of {figures.num_images:,}: "
            "the checkpoint may be broken. These images are wrong and unassessable in every figure."
        )
    if subject.about != subject.manifest.referred_for:
        referred = Words.of(subject.manifest.referred_for).many
        warnings.append(
            f"These images don't tell melanoma from other cancers, and the model refers {referred}: "
            "decisions are by its own probability, ranking and calibration by the summed probability of the malignant "
            "diagnoses."
        )
    return warnings


def _describe_left_out(subject: Subject) -> list[str]:
    """Say which images were left out before anything was scored, because their diagnosis is none of the taxonomy's."""
    info = subject.dataset.info
    said = []
    if info.num_left_out:
        words = ", ".join(f"{number:,} {word}" for word, number in info.num_left_out.items())
        said.append(f"Not evaluated, since their diagnosis is none that is known here: {words}.")
    if info.num_files_without_row:
        said.append(
            "Not evaluated, since nothing tells their diagnosis in a word that is known here: "
            f"{count(info.num_files_without_row, 'image')}."
        )
    return said


def _describe_heap(scored: Scored, words: Words) -> list[str]:
    """Say what routine would contain, and what can't be assessed."""
    routine, unassessable = scored.is_decided("routine"), scored.is_decided("unassessable")
    missed = int((routine & scored.is_melanoma).sum())
    others = int((routine & scored.is_malignant & ~scored.is_melanoma).sum())
    told = f" and {count(others, 'other cancer')}" if scored.tells_other_cancers else ""
    said = [
        f"Left to routine: {count(int(routine.sum()), 'image')}, among them "
        f"{count(missed, words.one, words.many)}{told}."
    ]
    if not scored.tells_other_cancers:
        said.append("How many other cancers are left to routine can't be told: the diagnoses are melanoma or other.")
    if unassessable.any():
        melanomas = int((unassessable & scored.is_melanoma).sum())
        said.append(
            f"Can't be assessed: {count(int(unassessable.sum()), 'image')}, among them "
            f"{count(melanomas, words.one, words.many)}; a person must look at them."
        )
    return said
