"""How well probabilities agree with frequencies: of images with a probability of 20 %, is one in five positive?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from scipy import special

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import PRIOR_GROUPS, Clusters, Spread
from melanoma_ray.metrics.inputs import require_both_kinds, require_probability, require_scored
from melanoma_ray.metrics.intervals import (
    SPARSE_BELOW,
    Z_95,
    Estimate,
    moderated_interval,
    quantile,
    share_interval,
)
from melanoma_ray.metrics.proportions import measure_share
from melanoma_ray.metrics.ranking import midranks

_CLIP = 1e-7
"""Smallest distance of a probability from 0 and 1 in a logit."""
_MAX_SLOPE = 100.0
_NO_LINE = "the calibration line is undefined: the probabilities separate the kinds perfectly or are all equal"


@dataclass(frozen=True, kw_only=True, slots=True)
class ReliabilityBin:
    """A point of the reliability curve: images with similar probabilities."""

    mean_probability: float
    lowest_probability: float
    highest_probability: float
    frequency: Estimate
    """Share of these images that are positive."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationLine:
    """The straight line that would mend the logits: a perfectly calibrated model has slope 1 and intercept 0."""

    slope: Estimate
    """Below 1: the probabilities are too extreme."""
    intercept: Estimate
    """Calibration in the large, the slope being 1; below 0: the probabilities are too high on average."""
    num_clipped: int
    """Images whose probability was so near to 0 or 1 that the logit was computed from 1e-7 away from it."""


def brier_score(probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> float:
    """Return the mean squared error of the probability: 0 is perfect, and a constant probability of 0.5 gives 0.25.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.

    Raises:
        MetricError: There are no images, the shapes differ, a value is outside [0, 1], or the truth isn't boolean.

    References:
        Brier 1950, doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2.

    >>> brier_score(np.array([1.0, 0.5]), np.array([True, False]))
    0.125
    """
    require_probable(probability, is_positive)
    return float(np.mean((probability.astype(np.float64) - is_positive) ** 2))


def estimate_brier_score(
    probability: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return the Brier score with its 95 % interval over groups.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: As for ``brier_score``, or ``group`` hasn't an entry for each image.

    References:
        As for ``moderated_interval``; its reference is the score's variance if the probabilities were true, in which
        images of a group are taken for all alike.
    """
    value = brier_score(probability, is_positive)
    clusters = Clusters.build(group, probability)
    exact = probability.astype(np.float64)
    spread = clusters.spread(((exact - is_positive) ** 2 - value) / exact.size)
    doubt = exact * (1 - exact)
    variance = (float((doubt * (1 - 2 * exact) ** 2).mean()) + float(doubt.var())) * clusters.mean_size / exact.size
    if 0 < value < 1 and variance > 0:
        logit, step = float(special.logit(value)), Z_95 * math.sqrt(variance) / (value * (1 - value))
        reference = float(special.expit(logit - step)), float(special.expit(logit + step))
    else:
        reference = share_interval(value, max(exact.size / clusters.mean_size, 1.0))
    num_groups = rarer_groups(is_positive, clusters)
    is_sparse = num_groups < SPARSE_BELOW
    low, high = moderated_interval(value, spread, reference, is_sparse=is_sparse)
    return Estimate(
        value=value,
        low=low,
        high=high,
        numerator=None,
        denominator=exact.size,
        num_groups=num_groups,
        is_sparse=is_sparse,
    )


def reliability_curve(
    probability: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    num_bins: int = 10,
) -> tuple[ReliabilityBin, ...]:
    """Return the points of a reliability diagram, from bins with equally many images; empty bins are left out.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.
        num_bins: Number of bins, 1 or more.

    Raises:
        MetricError: As for ``brier_score``, or there are no bins.

    References:
        Equal-mass bins: Nguyen & O'Connor 2015, doi:10.18653/v1/D15-1182.
    """
    require_probable(probability, is_positive)
    clusters = Clusters.build(group, probability)
    number = assign_bins(probability, num_bins)
    bins = (number == present for present in np.unique(number))
    return tuple(
        ReliabilityBin(
            mean_probability=float(probability[chosen].astype(np.float64).mean()),
            lowest_probability=float(probability[chosen].min()),
            highest_probability=float(probability[chosen].max()),
            frequency=measure_share(is_positive[chosen], clusters.select(chosen)).estimate(),
        )
        for chosen in bins
    )


def estimate_calibration_line(
    probability: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> CalibrationLine:
    """Return slope and intercept of the logistic regression of the truth on the logits.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: As for ``brier_score``; all images are of one kind; the probabilities separate the kinds
            perfectly, or are all equal, so that there is no line.

    References:
        Cox 1958, doi:10.1093/biomet/45.3-4.562; Van Calster 2019, doi:10.1186/s12916-019-1466-7; variance over groups:
        Liang & Zeger 1986, doi:10.1093/biomet/73.1.13, moderated as in ``moderated_interval``.
    """
    require_probable(probability, is_positive)
    require_both_kinds(is_positive)
    clusters = Clusters.build(group, probability)
    exact = probability.astype(np.float64)
    logit = special.logit(np.clip(exact, _CLIP, 1 - _CLIP))
    ends = [(float(kind.min()), float(kind.max())) for kind in (logit[is_positive], logit[~is_positive])]
    if ends[0][1] <= ends[1][0] or ends[1][1] <= ends[0][0]:  # then the steepest slope fits best
        raise MetricError(_NO_LINE)
    slope = _fit(np.column_stack([logit, np.ones_like(logit)]), np.zeros_like(logit), is_positive, clusters)
    intercept = _fit(np.ones((logit.size, 1)), logit, is_positive, clusters)
    num_clipped = int(np.count_nonzero((exact < _CLIP) | (exact > 1 - _CLIP)))
    return CalibrationLine(slope=slope, intercept=intercept, num_clipped=num_clipped)


def require_probable(probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"]) -> None:
    """Refuse what isn't a probability and a truth for each image.

    Raises:
        MetricError: There are no images, the shapes differ, a value is outside [0, 1], or the truth isn't boolean.
    """
    require_scored(probability, is_positive)
    require_probability(probability)


def assign_bins(probability: Float[np.ndarray, " image"], num_bins: int) -> Int64[np.ndarray, " image"]:
    """Return each image's bin of equally many images; equal probabilities are in the same one.

    Raises:
        MetricError: There are no bins.
    """
    if num_bins < 1:
        msg = f"num_bins={num_bins}: expected 1 or more"
        raise MetricError(msg)
    return ((midranks(probability) - 0.5) * num_bins / probability.size).astype(np.int64)


def rarer_groups(is_positive: Bool[np.ndarray, " image"], clusters: Clusters) -> int:
    """Return the number of groups of the kind that has fewer of them."""
    return min(clusters.select(is_positive).num_groups, clusters.select(~is_positive).num_groups)


def moderate(spread: Spread, assumed: float) -> Spread:
    """Return the mean of a variance that was seen and one that is assumed, by their degrees of freedom."""
    df = spread.df + PRIOR_GROUPS
    return Spread((spread.df * spread.variance + PRIOR_GROUPS * assumed) / df, df)


def _fit(
    inputs: Float64[np.ndarray, "image coefficient"],
    offset: Float64[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    clusters: Clusters,
) -> Estimate:
    """Return the first coefficient of a logistic regression, by Newton's method."""
    coefficients = np.zeros(inputs.shape[1])
    for _ in range(100):
        fitted = special.expit(inputs @ coefficients + offset)
        information = (inputs * (fitted * (1 - fitted))[:, None]).T @ inputs
        if np.linalg.cond(information) > 1e12 or abs(coefficients[0]) > _MAX_SLOPE:
            raise MetricError(_NO_LINE)
        step = np.linalg.solve(information, inputs.T @ (is_positive - fitted))
        coefficients = coefficients + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise MetricError(_NO_LINE)
    covariance = np.linalg.inv(information)
    spread = clusters.spread((inputs * (is_positive - fitted)[:, None]) @ covariance[0])
    spread = moderate(spread, float(covariance[0, 0]) * clusters.mean_size)
    num_groups = rarer_groups(is_positive, clusters)
    is_sparse = num_groups < SPARSE_BELOW
    step_to_end = quantile(spread.df, is_sparse=is_sparse) * math.sqrt(spread.variance)
    value = float(coefficients[0])
    return Estimate(
        value=value,
        low=value - step_to_end,
        high=value + step_to_end,
        numerator=None,
        denominator=is_positive.size,
        num_groups=num_groups,
        is_sparse=is_sparse,
    )
