"""What thresholds that were fixed on the validation split do here, and why the rest of it isn't defined."""

from __future__ import annotations

from dataclasses import dataclass

from melanoma_ray.errors import MetricError
from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_sensitivity, estimate_specificity
from melanoma_ray.metrics.tables import TwoWayRow, two_way_table
from melanoma_ray.metrics.thresholds import FixedThreshold


@dataclass(frozen=True, kw_only=True, slots=True)
class OneWayRow:
    """A threshold that was fixed elsewhere, and what it does among images of one kind."""

    fixed: FixedThreshold
    sensitivity: Estimate | None
    """None: no image must be referred."""
    specificity: Estimate | None
    """None: all images must be referred."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedThresholds:
    """What the checkpoint's fixed thresholds do here."""

    rows: tuple[TwoWayRow, ...] = ()
    one_way: tuple[OneWayRow, ...] = ()
    """Where all images are of one kind: the half that is defined."""
    reason: str = ""
    """One sentence about what isn't defined, and why; empty: all of it is."""


def measure_thresholds(scored: Scored, subject: Subject, prevalence: float | None) -> FixedThresholds:
    """Return what is defined of the table of fixed thresholds, and a sentence about the rest.

    Args:
        scored: Predictions and true diagnoses.
        subject: The model and the images.
        prevalence: Share of melanomas, in (0, 1), where the model shall be used; none: as among the images.
    """
    fixed = subject.manifest.calibration.operating_points
    if not fixed:
        return FixedThresholds(
            reason="The checkpoint has no thresholds for other sensitivities and specificities: it is older than "
            "these, or its calibration saw nothing but images that had to be referred."
        )
    if scored.about != subject.manifest.referred_for:
        return FixedThresholds(
            reason="There is no table of the fixed thresholds: they are of the model's own probability, and these "
            f"images can only tell {scored.about}."
        )
    answered = scored.select(scored.predictions.is_answered)
    try:
        rows = two_way_table(answered.score, answered.is_melanoma, fixed, answered.group, prevalence=prevalence)
    except MetricError:
        return _measure_one_kind(answered, fixed)
    return FixedThresholds(rows=rows)


def _measure_one_kind(answered: Scored, fixed: tuple[FixedThreshold, ...]) -> FixedThresholds:
    words, number = Words.of(answered.about), len(answered.truth)
    if not number:
        return FixedThresholds(reason="There is no table of the fixed thresholds: no image has an answer.")
    is_all = bool(answered.is_melanoma.all())
    left_out = "specificity" if is_all else "sensitivity"
    which = (
        f"all {number:,} images are {words.many}" if is_all else f"there are no {words.many} among {number:,} images"
    )
    measure = estimate_sensitivity if is_all else estimate_specificity
    found = [measure(answered.score >= row.threshold, answered.is_melanoma, answered.group) for row in fixed]
    return FixedThresholds(
        one_way=tuple(
            OneWayRow(fixed=row, sensitivity=one if is_all else None, specificity=None if is_all else one)
            for row, one in zip(fixed, found, strict=True)
        ),
        reason=f"At the fixed thresholds {left_out}, PPV, NPV and referrals per {words.one} aren't defined: {which}.",
    )
