"""The sentences and cells of the report that are computed from its figures."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_ray.diagnoses import ReferredFor
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Estimate
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.model.known import is_unique

TOO_FEW = "too few to say"


@dataclass(frozen=True, slots=True)
class Words:
    """What the images to be referred are called: melanomas, or malignant lesions."""

    one: str
    many: str
    title: str
    """Beginning of the name of a figure, such as ``Melanoma`` in ``Melanoma AUROC``."""

    @classmethod
    def of(cls, about: ReferredFor) -> Words:
        """Return the words for what a report is about."""
        if about == "melanoma":
            return cls("melanoma", "melanomas", "Melanoma")
        return cls("malignant lesion", "malignant lesions", "Malignancy")


def value_cells(estimate: Estimate | None, unit: str, digits: int = 3) -> tuple[str, str, str]:
    """Return value, interval and sample of a figure as texts.

    Args:
        estimate: The figure; none: it isn't defined.
        unit: Name of what the denominator counts, such as ``melanomas``.
        digits: Number of digits after the point.
    """
    if estimate is None:
        return "–", "not defined", ""
    of = "" if estimate.numerator is None else f"{estimate.numerator:,} of "
    few = f"; {TOO_FEW}" if estimate.is_sparse else ""
    return (
        f"{estimate.value:.{digits}f}",
        f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}",
        f"{of}{estimate.denominator:,} {unit}{few}",
    )


def short(estimate: Estimate | None, digits: int = 3) -> str:
    """Return a figure with its interval as one text; with a mark where there are too few groups to say more."""
    if estimate is None:
        return "–"
    mark = " *" if estimate.is_sparse else ""
    dash = " to " if estimate.low < 0 else "–"  # a dash before a minus can't be read
    return f"{estimate.value:,.{digits}f} ({estimate.low:,.{digits}f}{dash}{estimate.high:,.{digits}f}){mark}"


def of_a_hundred(estimate: Estimate) -> str:
    """Return a share as a number of a hundred, with its interval.

    >>> of_a_hundred(Estimate(value=0.912, low=0.84, high=0.955, numerator=None, denominator=1))
    '91 of 100 (95 % interval 84 to 96)'
    """
    value, low, high = (round(100 * share) for share in (estimate.value, estimate.low, estimate.high))
    return f"{value} of 100 (95 % interval {low} to {high})"


SPARSE_NOTE = (
    f"* fewer than {SPARSE_BELOW} lesions (or patients) of the rarer kind: {TOO_FEW}; the interval is wide on purpose."
)


def describe_unseen(subject: Subject) -> tuple[str, bool]:
    """Return whether the model knows the images, in a sentence, and whether the figures are praise because of it."""
    known, number = subject.acquaintance, len(subject.images)
    if known is None:
        same = subject.dataset.info.fingerprint == subject.manifest.data_fingerprint
        if same and subject.split == "test":
            return (
                "The checkpoint has no list of known images, so these weren't compared one by one. The prepared "
                "dataset "
                "is that of its training, and the test split took no part in it.",
                False,
            )
        return (
            "Whether the model knows these images can't be told: its checkpoint has no list of known images (it "
            "is old, "
            "or the list was taken away).",
            True,
        )
    counts = known.count()
    if counts["learnt"]:
        return (
            f"The model knows {counts['learnt'] + counts['calibrated']:,} of these {number:,} images: it learnt from "
            f"{counts['learnt']:,} (or from others of their lesions or patients) and was calibrated on "
            f"{counts['calibrated']:,}. These figures praise it and say little about new images.",
            True,
        )
    if counts["calibrated"]:
        return _describe_calibrated(subject, counts["calibrated"]), True
    own = counts["held_out"]
    which = "All" if own == number else f"{own:,}"
    none = "This image wasn't" if number == 1 else f"None of these {number:,} images was"
    kept = (
        f" {which} of them (or others of their lesions or patients) are of the split that was held out when the model "
        "was trained."
        if own
        else ""
    )
    return (
        f"{none} recognised as known to the model (compared: {_ways(subject)}; "
        f"crops by 3 % or more and added borders may escape).{kept}",
        False,
    )


def _describe_calibrated(subject: Subject, number: int) -> str:
    """Say what was chosen on images that the model was calibrated on, and what that does to the figures."""
    by = "each network learnt without its own fold" if subject.split == "folds" else "it didn't learn from them"
    start = f"The model was calibrated on {number:,} of these {len(subject.images):,} images, though {by}: "
    if subject.manifest.parent:
        return (
            f"{start}its best weights were chosen on them before it was recalibrated, or its probabilities and "
            "thresholds when it was. So the figures are optimistic."
        )
    return (
        f"{start}its best weights, probabilities and thresholds were chosen on them. So the sensitivity is close to "
        "its target by construction, and the other figures are optimistic."
    )


def _ways(subject: Subject) -> str:
    """Return by what images could be recognised here."""
    images = subject.images
    ways = ["pixels", "near copies"]
    if any(is_unique(str(name)) for name in images["image_id"]):
        ways.append("archive ids")
    for column, way in (("lesion_id", "lesion ids"), ("patient_id", "patient ids")):
        names = images[column].dropna()
        if len(names) and (subject.ids_are_shared or any(is_unique(str(name)) for name in names)):
            ways.append(way)
    return ", ".join(ways)


def describe_scope(split: str, *, is_whole: bool) -> str:
    """Return which images of a dataset were scored, before its name.

    >>> describe_scope("val", is_whole=False), describe_scope("test", is_whole=True)
    ('val split of', 'whole collection')
    """
    return "whole collection" if is_whole else "folds of" if split == "folds" else f"{split} split of"


def fitted_on(manifest: Manifest) -> tuple[str, str]:
    """Return when a checkpoint's thresholds were chosen, and on which images."""
    if manifest.parent:
        return "when the model was recalibrated", "the part of a clinic's images that was chosen for that"
    if manifest.num_members > 1 and manifest.ensemble_over != "seeds":  # the first ensembles were all over folds
        return "at the end of training", "all folds (each answered by the network that was trained without it)"
    return "at the end of training", "its validation split"


def describe_p(value: float) -> str:
    """Return a p-value as text.

    >>> describe_p(0.03), describe_p(1e-9)
    ('0.0300', '< 0.0001')
    """
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"
