"""Whether the model looks at the lesion: changed images, and models that never see it."""

from __future__ import annotations

from melanoma_ray.documents.sections.rows import HEADS, Row, estimate_row
from melanoma_ray.evaluation.probes.shortcuts import Altered, Baseline, Change, Shortcuts
from melanoma_ray.evaluation.wording import SPARSE_NOTE, Words, short
from melanoma_ray.metrics.comparison import Difference
from melanoma_ray.reports.evaluation import Cell, Section, Table

_MEANINGS: dict[Change, str] = {
    "border cut off": "The middle 80 % of each side, enlarged: no corners, rulers and ink at the edge. Lesions that "
    "reach the edge lose some of it.",
    "hair removed": "Dark thin lines are painted over from their surroundings, where there are some. Light hairs stay, "
    "and a lesion's long dark streaks may go.",
    "in grey": "Without colours.",
    "lesion masked out": "What Otsu's threshold takes for the lesion, and a margin, has the skin's colour. Where no "
    "such part was found the image isn't counted; where its edge is wrong, a rest of the lesion may be left.",
}
_BASELINES = {
    "age, sex and site": "Logistic regression on what the tables tell of the patient.",
    "sizes, mean colours and corners": "Gradient boosting on what cameras and clinics differ by.",
}


def shortcuts(found: Shortcuts | None, words: Words) -> Section | None:
    """Return what changed images and models without the lesion tell; none where that wasn't asked for."""
    if found is None:
        return None
    return Section(
        anchor="shortcuts",
        title="Does it look at the lesion?",
        paragraphs=[
            "Each image is scored again after a change, and compared with itself before. Changes are the changed "
            "image's figure less the unchanged one's. Networks are used to whole images in colour, so a loss may also "
            "come from the mere strangeness of the change.",
            SPARSE_NOTE,
        ],
        points=[*_read_masked(found, words), *_explain_missing(found)],
        tables=[_altered(found), _baselines(found)],
    )


def _read_masked(found: Shortcuts, words: Words) -> list[str]:
    """Say what is left of the ranking without the lesion."""
    masked = next(one for one in found.altered if one.change == "lesion masked out")
    if masked.auroc is None:
        return []
    return [
        f"With the lesion masked out the {words.title} AUROC is {masked.auroc.second:.3f} in place of "
        f"{masked.auroc.first:.3f}; what it is above 0.5 comes from the skin around, the picture's make, or rests of "
        "the lesion."
    ]


def _explain_missing(found: Shortcuts) -> list[str]:
    lost = [f"From {one.name} nothing is told: {one.reason}." for one in found.baselines if one.reason]
    for one in found.altered:
        if one.change == "lesion masked out":
            part = one.applied
            lost.append(
                f"A lesion was found in {part.numerator:,} of {part.denominator:,} images; the search failed in "
                f"{100 * (1 - part.value):.1f} % of them."
            )
    return lost


def _altered(found: Shortcuts) -> Table:
    heads = ("Change", "Images", "AUROC then", "Change of AUROC", "Change of sensitivity", "Change of specificity")
    return Table(
        caption="What changes of the images change",
        heads=heads,
        rows=[_altered_row(one) for one in found.altered],
    )


def _altered_row(one: Altered) -> Row:
    name = one.change[0].upper() + one.change[1:]
    return (
        Cell(name, _MEANINGS[one.change]),
        f"{one.applied.numerator:,} of {one.applied.denominator:,}",
        "–" if one.auroc is None else f"{one.auroc.second:.3f}",
        *(_change(difference) for difference in (one.auroc, one.sensitivity, one.specificity)),
    )


def _change(difference: Difference | None) -> str:
    return "–" if difference is None else short(difference.difference)


def _baselines(found: Shortcuts) -> Table:
    return Table(
        caption="AUROC of models that never see the lesion",
        heads=(*HEADS, "The model's, less this"),
        rows=[_baseline_row(one) for one in found.baselines],
    )


def _baseline_row(one: Baseline) -> Row:
    fitted = f" Fitted on {one.num_train:,} images of the train split." if one.num_train else ""
    meaning = f"{_BASELINES[one.name]}{fitted}"
    row = estimate_row(f"From {one.name} alone", meaning, one.auroc, "images")
    return *row, _change(one.compared)
