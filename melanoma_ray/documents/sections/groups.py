"""Figures by diagnosis and by subgroup, and the confusion of diagnoses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from melanoma_ray.documents.sections.rows import Row
from melanoma_ray.evaluation.figures import Figures
from melanoma_ray.evaluation.subgroups import ENOUGH, Level, Subgroup
from melanoma_ray.evaluation.wording import SPARSE_NOTE, TOO_FEW, Words, describe_p, short
from melanoma_ray.reports.evaluation import Plot, Section, Table
from melanoma_ray.reports.plots import (
    plot_confusion,
)

_GAP = 0.025
"""Probability below which a gap is called one: 5 % in all, halved for the two figures."""


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
        f"{one.title}, {level.name}: the {what} differs from the others' (p = {describe_p(p_value)})."
        for one in found
        for level in one.levels
        for what, p_value in (("sensitivity", level.sensitivity_p), ("specificity", level.specificity_p))
        if p_value is not None and p_value < _GAP
    ]
    is_tested = any(level.specificity_p or level.sensitivity_p for one in found for level in one.levels)
    nothing = (
        ("No gap between a level and the others is larger than chance explains." if is_tested else "No gap was tested.")
        if found
        else "Nothing that is known of the images (sex, age, site, source) divides them into two or more groups."
    )
    return Section(
        anchor="subgroups",
        title="Does it do as well for everyone?",
        paragraphs=[
            "Sensitivity and specificity at the checkpoint's own threshold. The tests of gaps hold for all levels "
            f"together: each of the two figures is called different somewhere with a probability of {_GAP:.1%} at "
            "most where there is no gap.",
            f"† Fewer than {ENOUGH} lesions (or patients) to be referred: {TOO_FEW} how many it finds there.",
            SPARSE_NOTE,
            *(f"{one.title}: {one.note}" for one in found if one.note),
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
    few = " †" if level.is_sparse else ""
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
