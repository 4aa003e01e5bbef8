"""What a clinic decides by: the figures of a threshold that was fixed elsewhere, at any prevalence, and net benefit."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Shaped

from melanoma_ray.metrics.clusters import Clusters
from melanoma_ray.metrics.inputs import (
    require_both_kinds,
    require_paired,
    require_probability,
    require_scored,
    require_share,
    require_truth,
)
from melanoma_ray.metrics.intervals import Estimate, propagate
from melanoma_ray.metrics.proportions import Share, estimate_npv, estimate_ppv, estimate_share, measure_share
from melanoma_ray.metrics.thresholds import FixedThreshold

NET_BENEFIT_THRESHOLDS = tuple(round(percent / 100, 2) for percent in (1, 2, 3, 5, 7, 10, 15, 20, 25, 30, 40, 50))
"""Probabilities of melanoma from which somebody might want a biopsy."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPoint:
    """What follows from one rule of referral."""

    sensitivity: Estimate
    specificity: Estimate
    ppv: Estimate | None
    """Share of the referred images that are melanomas; none: no image is referred."""
    npv: Estimate | None
    """Share of the images not referred that are no melanoma; none: all are referred."""
    number_needed_to_refer: Estimate | None
    """Images referred for each melanoma found, 1 / PPV; none: no melanoma is referred."""
    flagged_per_1000: Estimate
    """Images referred of a thousand."""
    prevalence: float
    """Share of melanomas that PPV and the figures after it hold for."""
    is_own_prevalence: bool
    """Whether the prevalence is that of these images; otherwise the reader's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoWayRow:
    """A threshold that was fixed elsewhere, and what it does here."""

    fixed: FixedThreshold
    point: OperatingPoint


@dataclass(frozen=True, kw_only=True, slots=True)
class NetBenefit:
    """A point of the decision curve: melanomas found, less the needless referrals weighed by the threshold's odds."""

    threshold: float
    """Probability of melanoma from which a referral is worth its cost, in (0, 1)."""
    model: Estimate
    """Net benefit for each image of referring those with this probability or more."""
    refer_all: float
    """Net benefit of referring everything; that of referring nothing is 0."""


def measure_point(
    is_referred: Bool[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    prevalence: float | None = None,
) -> OperatingPoint:
    """Return what follows from referring these images.

    Args:
        is_referred: Whether each image is referred.
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.
        prevalence: Share of melanomas, in (0, 1), where the rule shall be used; none: as among these images.

    Raises:
        MetricError: All images are of one kind, the shapes differ, an array isn't boolean, or the prevalence is out of
            its range.

    References:
        PPV and NPV at a prevalence by Bayes' theorem: Altman & Bland 1994, doi:10.1136/bmj.309.6947.102.
    """
    require_paired(is_referred, is_melanoma)
    require_truth(is_referred)
    require_truth(is_melanoma)
    require_both_kinds(is_melanoma)
    clusters = Clusters.build(group, is_melanoma)
    found = measure_share(is_referred[is_melanoma], clusters.select(is_melanoma))
    left = measure_share(~is_referred[~is_melanoma], clusters.select(~is_melanoma))
    if prevalence is None:
        ppv = estimate_ppv(is_referred, is_melanoma, clusters.index) if is_referred.any() else None
        npv = estimate_npv(is_referred, is_melanoma, clusters.index) if not is_referred.all() else None
        flagged = estimate_share(is_referred, clusters.index)
    else:
        require_share("prevalence", prevalence)
        ppv, npv, flagged = _at_prevalence(found, left, prevalence)
    return OperatingPoint(
        sensitivity=found.estimate(),
        specificity=left.estimate(),
        ppv=ppv,
        npv=npv,
        number_needed_to_refer=_change(ppv, lambda share: 1 / share) if ppv and ppv.value > 0 else None,
        flagged_per_1000=_change(flagged, lambda share: 1000 * share),
        prevalence=float(is_melanoma.mean()) if prevalence is None else prevalence,
        is_own_prevalence=prevalence is None,
    )


def two_way_table(
    score: Float[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    fixed: Iterable[FixedThreshold],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    prevalence: float | None = None,
) -> tuple[TwoWayRow, ...]:
    """Return what thresholds that were fixed elsewhere (``fix_thresholds``) do on these images.

    Args:
        score: Score of each image, finite, higher for melanomas.
        is_melanoma: Whether each image is a melanoma in truth.
        fixed: Thresholds, chosen on other images than these.
        group: Lesion or patient of each image; none: each image is its own.
        prevalence: As for ``measure_point``.

    Raises:
        MetricError: As for ``measure_point``, or a score isn't finite.
    """
    require_scored(score, is_melanoma)
    groups = Clusters.build(group, score).index
    return tuple(
        TwoWayRow(fixed=row, point=measure_point(score >= row.threshold, is_melanoma, groups, prevalence=prevalence))
        for row in fixed
    )


def decision_curve(
    probability: Float[np.ndarray, " image"],
    is_melanoma: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    thresholds: tuple[float, ...] = NET_BENEFIT_THRESHOLDS,
    prevalence: float | None = None,
) -> tuple[NetBenefit, ...]:
    """Return the net benefit of the model at each threshold, beside that of referring everything.

    Args:
        probability: Probability of melanoma of each image, in [0, 1].
        is_melanoma: Whether each image is a melanoma in truth.
        group: Lesion or patient of each image; none: each image is its own.
        thresholds: Probabilities, each in (0, 1).
        prevalence: As for ``measure_point``; the interval takes it as known.

    Raises:
        MetricError: All images are of one kind, the shapes differ, a probability or a threshold is out of its range.

    References:
        Vickers & Elkin 2006, doi:10.1177/0272989X06295361.
    """
    require_scored(probability, is_melanoma)
    require_probability(probability)
    require_both_kinds(is_melanoma)
    share = float(is_melanoma.mean()) if prevalence is None else prevalence
    require_share("prevalence", share)
    clusters = Clusters.build(group, is_melanoma)
    positive, negative = clusters.select(is_melanoma), clusters.select(~is_melanoma)
    points = []
    for threshold in thresholds:
        require_share("threshold", threshold)
        is_referred = probability >= threshold
        found = measure_share(is_referred[is_melanoma], positive)
        false = measure_share(is_referred[~is_melanoma], negative)
        cost = (1 - share) * threshold / (1 - threshold)

        def benefit(
            sensitivity: Float64[np.ndarray, " draw"], fpr: Float64[np.ndarray, " draw"], cost: float = cost
        ) -> Float64[np.ndarray, " draw"]:
            return share * sensitivity - cost * fpr

        points.append(NetBenefit(threshold=threshold, model=_join(benefit, found, false), refer_all=share - cost))
    return tuple(points)


def _at_prevalence(found: Share, left: Share, prevalence: float) -> tuple[Estimate | None, Estimate | None, Estimate]:
    """Return PPV, NPV and the share referred from sensitivity and specificity."""

    def ppv(sensitivity: np.ndarray, specificity: np.ndarray) -> np.ndarray:
        caught = prevalence * sensitivity
        return np.asarray(caught / (caught + (1 - prevalence) * (1 - specificity)))

    def npv(sensitivity: np.ndarray, specificity: np.ndarray) -> np.ndarray:
        cleared = (1 - prevalence) * specificity
        return np.asarray(cleared / (cleared + prevalence * (1 - sensitivity)))

    def flagged(sensitivity: np.ndarray, specificity: np.ndarray) -> np.ndarray:
        return np.asarray(prevalence * sensitivity + (1 - prevalence) * (1 - specificity))

    refers_any = found.value > 0 or left.value < 1
    clears_any = found.value < 1 or left.value > 0
    return (
        _join(ppv, found, left) if refers_any else None,
        _join(npv, found, left) if clears_any else None,
        _join(flagged, found, left),
    )


def _join(figure: Callable[[np.ndarray, np.ndarray], np.ndarray], first: Share, second: Share) -> Estimate:
    low, high = propagate(figure, (first.value, first.size), (second.value, second.size))
    return Estimate(
        value=float(figure(np.array([first.value]), np.array([second.value]))[0]),
        low=low,
        high=high,
        numerator=None,
        denominator=first.num_images + second.num_images,
        num_groups=min(first.num_groups, second.num_groups),
        is_sparse=first.is_sparse or second.is_sparse,
    )


def _change(estimate: Estimate, by: Callable[[float], float]) -> Estimate:
    """Return an estimate in another unit."""
    ends = sorted(by(end) for end in (estimate.low, estimate.high))
    return Estimate(
        value=by(estimate.value),
        low=ends[0],
        high=ends[1],
        numerator=None,
        denominator=estimate.denominator,
        num_groups=estimate.num_groups,
        is_sparse=estimate.is_sparse,
    )
