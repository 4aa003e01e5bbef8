"""What was evaluated and the main figures; the way from the files to them; the data and the training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from melanoma_ray.api import describe_share
from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row, figure_row
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.participants import count_participants
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.metrics.intervals import SPARSE_BELOW
from melanoma_ray.reports.evaluation import Cell, Plot, Section, Table
from melanoma_ray.reports.plots import (
    CurvePoint,
    plot_class_counts,
    plot_curves,
)
from melanoma_ray.schema import SPLITS
from melanoma_ray.wording import count


def facts(subject: Subject, scored: Scored, figures: Figures) -> Table:
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
        "Checkpoint": f"{subject.predictor.checkpoint_id}, "
        + (f"{manifest.parent} recalibrated" if manifest.parent else "trained")
        + f" {manifest.created_at}",
        "Quality warnings": _describe_warnings(scored),
        "Refers": _describe_referred(subject),
        "Predicted diagnosis": "the most probable one"
        if by == "calibrated"
        else "the one with the highest logit, as if all diagnoses were equally frequent",
    }
    return Table(caption="What was evaluated", heads=(), rows=list(rows.items()))


def _describe_warnings(scored: Scored) -> str:
    found = scored.predictions.warnings
    if found is None:
        return "not looked for"
    number = sum(bool(words) for words in found)
    counts = Counter(word for words in found for word in words)
    detail = ", ".join(f"{name} {times:,}" for name, times in counts.most_common())
    return f"{count(number, 'image')} of {len(found):,}" + (f" ({detail})" if detail else "")


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
    rows = [figure_row(name, estimate, words) for name, estimate in figures.estimates.items()]
    apart = "Listed separately: it has fewer lesions than there are folds, so the balanced accuracy leaves it out."
    rows += [
        estimate_row(f"Recall of {name}", apart, figures.recall[name], f"images of {name}")
        for name in figures.apart
        if name in figures.recall
    ]
    ranked = f"Mean share of {words.many} among the images ranked above each of them."
    rows.append(estimate_row("Average precision", ranked, details.average_precision, "images"))
    area = "Area above a sensitivity of 80 %, at most 0.2: the score of the ISIC Challenge 2024."
    rows.append(estimate_row("Partial AUROC", area, details.partial_auroc, "images"))
    tables = [Table(caption="Each figure with its 95 % interval over lesions", heads=HEADS, rows=rows)]
    if unseen is not None:
        own = [figure_row(name, estimate, words) for name, estimate in unseen.estimates.items()]
        tables.append(Table(caption="The same for the images that the model doesn't know", heads=HEADS, rows=own))
    return Section(
        anchor="figures",
        title="Figures",
        paragraphs=["Intervals take images of one group as dependent, so they hold for new lesions."],
        tables=tables,
        points=[
            *_tell_unknown(figures),
            *_name_rare(figures),
            *(f"Not defined for these images: {name}: {reason}" for name, reason in figures.undefined.items()),
        ],
    )


def _tell_unknown(figures: Figures) -> list[str]:
    """Say what the balanced accuracy leaves out, where the model doesn't have all diagnoses."""
    if not figures.num_unknown or "balanced_accuracy" not in figures.estimates:
        return []
    return [
        f"{count(figures.num_unknown, 'image has', 'images have')} a diagnosis that the model doesn't have: wrong in "
        "the accuracy, and left out of the balanced accuracy, which is of "
        f"{count(len(figures.recall) - len(figures.apart), 'diagnosis', 'diagnoses')} here."
    ]


def _name_rare(figures: Figures) -> list[str]:
    """Name the diagnoses that are too few for the balanced accuracy, which weighs each of them alike."""
    rare = [
        f"{name} ({recall.num_groups})"
        for name, recall in figures.recall.items()
        if recall.is_sparse and name not in figures.apart
    ]
    if not rare:
        return []
    return [
        f"The balanced accuracy weighs each diagnosis alike, and of these there are fewer than {SPARSE_BELOW} lesions "
        f"(or patients): {', '.join(rare)}."
    ]


def participants(subject: Subject) -> Section:
    """Return the flow of images from the files that were found to the figures."""
    info, steps = subject.dataset.info, count_participants(subject)
    rows: list[Row] = []
    for name, title in (
        ("found", "Images found"),
        ("files_without_row", "Left out: no known word tells the diagnosis"),
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
        points=[
            *info.notes,
            *(
                [f"Rows of the tables without an image: {info.num_rows_without_file:,}"]
                * bool(info.num_rows_without_file)
            ),
        ],
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
