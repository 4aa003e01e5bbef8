"""The sections of the report's page, each made of figures that were computed before."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from melanoma_ray.api import DECISION_WORDS, describe_share
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.participants import count_participants
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subgroups import ENOUGH, Level, Subgroup
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import SPARSE_NOTE, TOO_FEW, Words, short, value_cells
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.tables import TwoWayRow
from melanoma_ray.reports.evaluation import Cell, Plot, Section, Table
from melanoma_ray.reports.plots import (
    CurvePoint,
    plot_class_counts,
    plot_confusion,
    plot_curves,
    plot_net_benefit,
    plot_reliability,
    plot_roc,
)
from melanoma_ray.schema import SPLITS

MEANINGS = {
    "accuracy": ("Accuracy", "Share of images whose predicted diagnosis is the true one.", "images"),
    "balanced_accuracy": (
        "Balanced accuracy",
        "Mean over the diagnoses of the share of a diagnosis's images that are recognised.",
        "images",
    ),
    "melanoma_auroc": (
        "{title} AUROC",
        "Probability that a {one} is ranked above an image that is none; 0.5 is guessing.",
        "images",
    ),
    "sensitivity": ("Sensitivity", "Share of the {many} that are referred.", "{many}"),
    "specificity": ("Specificity", "Share of the other images that are not referred.", "other images"),
    "brier_score": ("Brier score", "Mean squared error of the {one} probability; 0 is perfect.", "images"),
    "expected_calibration_error": (
        "Calibration error",
        "Expected calibration error: mean difference between the {one} probability and the frequency of {many}.",
        "images",
    ),
}
"""Title, meaning and unit of each main figure; words in braces are those of ``wording.Words``."""
Row = tuple[Cell | str, ...]
_GAP = 0.025
"""Probability below which a gap is called one: 5 % in all, halved for the two figures."""
_HEADS = ("Figure", "Value", "95 % interval", "Images")


def facts(subject: Subject, figures: Figures) -> Table:
    """Return what was evaluated, as a table."""
    manifest, info = subject.manifest, subject.dataset.info
    same = info.fingerprint == manifest.data_fingerprint
    side = manifest.experiment.model.image_side
    by = manifest.experiment.decision.diagnosis_by
    rows = {
        "Images": f"{figures.num_images:,} in {subject.images['group_id'].nunique():,} groups (a lesion or a patient "
        "with all images and near copies)",
        "Data": f"{subject.dataset.uri} ({'the same as' if same else 'not that'} of its training)",
        "Network": f"{manifest.experiment.model.network}, {side}×{side} pixels",
        "Checkpoint": f"{subject.predictor.checkpoint_id}, trained {manifest.created_at}",
        "Refers": _describe_referred(subject),
        "Predicted diagnosis": "the most probable one"
        if by == "calibrated"
        else "the one with the highest logit, as if all diagnoses were equally frequent",
    }
    return Table(caption="What was evaluated", heads=(), rows=list(rows.items()))


def _describe_referred(subject: Subject) -> str:
    manifest = subject.manifest
    if manifest.referred_for == "melanoma":
        return "melanoma"
    if any(one.is_melanoma for one in manifest.taxonomy if one.name in manifest.diagnoses):
        return "any malignant diagnosis, as the model was told to"
    return "any malignant diagnosis: no class of this model is melanoma"


def main_figures(figures: Figures, words: Words, unseen: Figures | None) -> Section:
    """Return the main figures, and beside them those of the unseen images, where the model knows some."""
    details = figures.details
    rows = [_row(name, estimate, words) for name, estimate in figures.estimates.items()]
    apart = "Listed separately: it has fewer lesions than there are folds, so the balanced accuracy leaves it out."
    rows += [
        _line(f"Recall of {name}", apart, figures.recall[name], f"images of {name}")
        for name in figures.apart
        if name in figures.recall
    ]
    ranked = f"Mean share of {words.many} among the images ranked above each of them."
    rows.append(_line("Average precision", ranked, details.average_precision, "images"))
    area = "Area above a sensitivity of 80 %, at most 0.2: the score of the ISIC Challenge 2024."
    rows.append(_line("Partial AUROC", area, details.partial_auroc, "images"))
    tables = [Table(caption="Each figure with its 95 % interval over lesions", heads=_HEADS, rows=rows)]
    if unseen is not None:
        own = [_row(name, estimate, words) for name, estimate in unseen.estimates.items()]
        tables.append(Table(caption="The same for the images that the model doesn't know", heads=_HEADS, rows=own))
    return Section(
        anchor="figures",
        title="Figures",
        paragraphs=["Intervals take images of one group as dependent, so they hold for new lesions."],
        tables=tables,
        points=[f"Not defined for these images: {name}: {reason}" for name, reason in figures.undefined.items()],
    )


def _row(name: str, estimate: Estimate | None, words: Words) -> Row:
    title, meaning, unit = _words_of(name, words)
    return _line(title, meaning, estimate, unit)


def _words_of(name: str, words: Words) -> tuple[str, str, str]:
    title, meaning, unit = (text.format(one=words.one, many=words.many, title=words.title) for text in MEANINGS[name])
    return title, meaning, unit


def _line(title: str, meaning: str, estimate: Estimate | None, unit: str) -> Row:
    return Cell(title, meaning), *value_cells(estimate, unit)


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
        _line("Unassessable", "Share of the images that can't be assessed.", referral.unassessable, "images"),
        _line(
            "Sensitivity, unassessable ones referred",
            "If a person looks at once at what can't be assessed.",
            referral.sensitivity_unassessable_referred,
            words.many,
        ),
        _line(
            "Specificity, unassessable ones referred",
            "The price of it.",
            referral.specificity_unassessable_referred,
            "other images",
        ),
        _line(
            "Sensitivity of assessed images",
            "Without the images that can't be assessed.",
            referral.sensitivity_assessed,
            words.many,
        ),
        _line("Specificity of assessed images", "Without the same.", referral.specificity_assessed, "other images"),
        _line(
            "Sensitivity for any cancer",
            "Share of all malignant images that are referred, whatever the threshold was chosen for.",
            referral.malignancy_sensitivity,
            "malignant images",
        ),
        _line(
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
            Table(caption="Unassessable images in either reading, and other cancers", heads=_HEADS, rows=readings),
        ],
    )


def _count_truth(scored: Scored) -> list[tuple[str, int]]:
    names, counts = np.unique(scored.truth.astype(str), return_counts=True)
    first = sorted(zip(names.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return sorted(first, key=lambda pair: (pair[0] not in scored.referred, pair[0] not in scored.malignant))


def thresholds(subject: Subject, words: Words, two_way: Sequence[TwoWayRow]) -> Section:
    """Return the checkpoint's thresholds, and what others that were fixed on its validation split do here."""
    calibration, decision = subject.manifest.calibration, subject.manifest.experiment.decision
    rows: list[Row] = [
        (
            Cell(
                f"{words.title} probability",
                "An image with this probability or more is referred. Chosen to refer at least "
                f"{decision.target_sensitivity:.0%} of the {calibration.num_validation_melanomas} images of the "
                "validation split that must be.",
            ),
            f"{calibration.decision_threshold:.4g}",
        ),
        (
            Cell(
                "Energy",
                "An image with more energy is unlike those of training, so a person must look. Chosen so that "
                f"{decision.assessable_quantile:.1%} of the validation images count as assessable.",
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
    if two_way:
        tables.append(_two_way_table(two_way, words))
    return Section(
        anchor="thresholds",
        title="Thresholds",
        warnings=calibration.doubts,
        paragraphs=[
            f"Chosen at the end of training on {calibration.num_validation_images:,} images of its validation split, "
            "and nowhere else.",
            *([SPARSE_NOTE] if two_way else []),
        ],
        tables=tables,
    )


def _two_way_table(two_way: Sequence[TwoWayRow], words: Words) -> Table:
    first = two_way[0].point
    where = (
        f"at the prevalence of these images, {describe_share(first.prevalence)}"
        if first.is_own_prevalence
        else f"at a prevalence of {describe_share(first.prevalence)}, as asked for"
    )
    return Table(
        caption="What thresholds that were fixed on the validation split do here; PPV and the columns after it "
        f"{where}",
        heads=(
            "Fixed for",
            "Threshold",
            "Sensitivity",
            "Specificity",
            "PPV",
            "NPV",
            f"Referred for each {words.one}",
            "Referred of 1,000",
        ),
        rows=[
            (
                f"{row.fixed.target:.0%} {row.fixed.aim}",
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


def ranking(figures: Figures, words: Words) -> Section:
    """Return the ROC curve with the operating point."""
    point, roc = figures.details.point, figures.roc
    title = f"{words.title} against the rest"
    if roc is None or point is None:
        sentence = f"There is no ROC curve, because there are no {words.many} or no other images among those evaluated."
        return Section(anchor="ranking", title=title, paragraphs=[sentence])
    found, needless = describe_share(point.sensitivity.value), describe_share(1 - point.specificity.value)
    sentence = f"{found} of the {words.many} and {needless} of the other images are referred"
    drawn = Plot(
        figure=plot_roc(roc.fpr, roc.tpr, (1 - point.specificity.value, point.sensitivity.value)),
        alt=f"ROC curve. At the decision threshold {sentence}.",
        caption=f"At the decision threshold (diamond) {sentence}.",
    )
    return Section(anchor="ranking", title=title, plots=[drawn])


def calibration(figures: Figures, words: Words) -> Section:
    """Return how far the probabilities can be believed."""
    details = figures.details
    error, line = details.calibration_error, details.calibration_line
    answered = f"{figures.num_images - figures.num_unanswered:,} images"
    rows: list[Row] = [_row("brier_score", details.brier_score, words)]
    if error is not None:
        title, meaning, _ = _words_of("expected_calibration_error", words)
        rows.append((Cell(title, meaning), f"{error.plug_in:.3f}", "see below", answered))
        rows.append(
            _line(
                "Calibration error, debiased",
                "Without most of what chance adds. A perfectly calibrated model would show "
                f"{error.if_calibrated:.3f} on as many images, and more than {error.if_calibrated_high:.3f} in one "
                "sample of forty.",
                error.debiased,
                "images",
            )
        )
    if line is not None:
        below = "1 is perfect; below 1 the probabilities are too extreme."
        rows.append(_line("Calibration slope", below, line.slope, "images"))
        below = "0 is perfect; below 0 the probabilities are too high on average."
        rows.append(_line("Calibration in the large", below, line.intercept, "images"))
    plots = []
    if details.reliability:
        points = [(one.mean_probability, one.frequency.value) for one in details.reliability]
        worst = max(points, key=lambda pair: abs(pair[0] - pair[1]))
        sentence = (
            f"Frequency of {words.many} by predicted probability, with 95 % intervals. Farthest from the line: of the "
            f"images with {describe_share(worst[0])} on average, {describe_share(worst[1])} are {words.many}."
        )
        plots.append(Plot(figure=plot_reliability(details.reliability), alt=sentence, caption=sentence))
    return Section(
        anchor="calibration",
        title="Can the probabilities be believed?",
        plots=plots,
        tables=[Table(caption="Calibration", heads=_HEADS, rows=rows)],
    )


def net_benefit(figures: Figures, words: Words) -> Section | None:
    """Return the decision curve; none where it isn't defined."""
    points = figures.details.decision_curve
    if not points:
        return None
    better = [one.threshold for one in points if one.model.low > max(one.refer_all, 0.0)]
    said = (
        f"Even the lower end of the interval is above both where a referral is thought worth its cost from "
        f"{describe_share(min(better))} to {describe_share(max(better))}."
        if better
        else "Nowhere is the lower end of the interval above both, so a benefit isn't shown by these images."
    )
    sentence = f"Net benefit of the model, of referring all and of referring nobody. {said}"
    return Section(
        anchor="benefit",
        title="Is it better than referring all or nobody?",
        paragraphs=[
            f"Net benefit: {words.many} found, less the needless referrals, weighed by the odds of the probability "
            "from which a reader would refer (Vickers & Elkin 2006)."
        ],
        plots=[Plot(figure=plot_net_benefit(points), alt=sentence, caption=sentence)],
    )


def by_diagnosis(figures: Figures) -> Section | None:
    """Return the figures of each diagnosis against the rest; none where nothing is defined."""
    found = figures.details.by_diagnosis
    if not found:
        return None
    return Section(
        anchor="diagnoses",
        title="Each diagnosis against the rest",
        paragraphs=[SPARSE_NOTE],
        tables=[
            Table(
                caption="Figures of each diagnosis that the model has",
                heads=("Diagnosis", "Sensitivity", "Specificity", "PPV", "F1", "AUROC"),
                rows=[
                    (name, *(short(value) for value in (one.sensitivity, one.specificity, one.ppv, one.f1, one.auroc)))
                    for name, one in found.items()
                ],
            )
        ],
    )


def subgroups(found: Sequence[Subgroup], words: Words) -> Section:
    """Return the figures of the subgroups, and which gaps are more than chance."""
    points = [
        f"{one.title}, {level.name}: the {what} differs from the others' (p = {p_value:.4f})."
        for one in found
        for level in one.levels
        for what, p_value in (("sensitivity", level.sensitivity_p), ("specificity", level.specificity_p))
        if p_value is not None and p_value < _GAP
    ]
    nothing = (
        "No gap between a level and the others is larger than chance explains."
        if found
        else "Nothing is known of the images that would divide them: no sex, age, site or source."
    )
    return Section(
        anchor="subgroups",
        title="Does it do as well for everyone?",
        paragraphs=[
            "Sensitivity and specificity at the checkpoint's own threshold. The tests of gaps hold for all levels "
            f"together: each of the two figures is called different somewhere with a probability of {_GAP:.1%} at "
            "most where there is no gap.",
            *(one.note for one in found if one.note),
        ],
        points=points or [nothing],
        tables=[
            Table(
                caption=f"By {one.title[0].lower()}{one.title[1:]}",
                heads=(one.title, "Images", words.many.capitalize(), "AUROC", "Sensitivity", "Specificity"),
                rows=[_level_row(level) for level in one.levels],
            )
            for one in found
        ],
    )


def _level_row(level: Level) -> Row:
    few = f" ({TOO_FEW}: fewer than {ENOUGH} lesions)" if level.is_sparse else ""
    return (
        level.name,
        f"{level.num_images:,}",
        f"{level.num_melanomas:,}{few}",
        *(short(estimate) for estimate in (level.auroc, level.sensitivity, level.specificity)),
    )


def confusion(figures: Figures, diagnoses: Sequence[str]) -> Section:
    """Return the confusion of diagnoses, as plot and table."""
    matrix: Int[np.ndarray, "target predicted"] = figures.confusion
    unknown = (
        [f"{figures.num_unknown:,} images have a diagnosis that the model doesn't have: they count as wrong, not here."]
        if figures.num_unknown
        else []
    )
    return Section(
        anchor="confusion",
        title="Confusion of diagnoses",
        paragraphs=unknown,
        plots=[
            Plot(
                figure=plot_confusion(matrix, diagnoses),
                alt="Confusion matrix; the table below it holds the same numbers.",
                caption="Number of images by true and predicted diagnosis; correct predictions are bold. The shade is "
                "the share of the row, so that rare diagnoses are as legible as frequent ones.",
            )
        ],
        tables=[
            Table(
                caption="Confusion matrix as a table",
                heads=("True", *diagnoses),
                rows=[(name, *map(str, row)) for name, row in zip(diagnoses, matrix.tolist(), strict=True)],
                is_folded=True,
            )
        ],
    )


def participants(subject: Subject) -> Section:
    """Return the flow of images from the files that were found to the figures."""
    steps = count_participants(subject)
    rows: list[Row] = []
    for name, title in (
        ("found", "Images found"),
        ("files_without_row", "Left out: no row in the metadata"),
        ("other_diagnoses", "Left out: other diagnoses"),
        ("unreadable", "Left out: unreadable"),
        ("dropped", "Left out: copies and contradictions"),
        ("prepared", "Prepared"),
        ("in_other_splits", "In other splits"),
        ("known_and_left_out", "Left out: known to the model"),
        ("evaluated", "Evaluated"),
        ("groups_evaluated", "In groups"),
    ):
        value = steps[name]
        counts = value if isinstance(value, dict) else {}
        detail = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in counts.items())
        rows.append((Cell(title, detail), f"{sum(counts.values()) if isinstance(value, dict) else value:,}"))
    return Section(
        anchor="participants",
        title="From the files to the figures",
        tables=[Table(caption="Number of images at each step", heads=("Step", "Images"), rows=rows)],
    )


def training(subject: Subject, history: Sequence[CurvePoint]) -> Section:
    """Return the prepared dataset by diagnosis and split, and the curves of the training where they are known."""
    info = subject.dataset.info
    is_own = info.fingerprint == subject.manifest.data_fingerprint
    counts = info.count_by_diagnosis()
    what = "The model was trained on this prepared dataset." if is_own else "The model was trained on other data."
    plots = [
        Plot(
            figure=plot_class_counts(counts),
            alt="Bars of the number of images by diagnosis and split; the table below holds the same numbers.",
            caption="Images of the prepared dataset by diagnosis and split; the total is at the end of each bar.",
        )
    ]
    if history:
        last = describe_share(history[-1].val_accuracy)
        plots.append(
            Plot(
                figure=plot_curves(history),
                alt=f"Loss and accuracy by epoch. In the last of {len(history)} epochs the validation accuracy was "
                f"{last}.",
                caption="Loss and accuracy by epoch: dashed for training, solid for validation. Training was guided by "
                "them, so they don't estimate how good the model is on new images.",
            )
        )
    return Section(
        anchor="training",
        title="Data and training",
        paragraphs=[what],
        plots=plots,
        tables=[
            Table(
                caption="Images by diagnosis and split as a table",
                heads=("Diagnosis", *SPLITS),
                rows=[(name, *(f"{by[split]:,}" for split in SPLITS)) for name, by in counts.items()],
                is_folded=True,
            )
        ],
    )
