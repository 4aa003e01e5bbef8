"""The expected calibration error: as it is, without its bias, and as a perfectly calibrated model would show it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Shaped
from scipy import special

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import assign_bins, moderate, rarer_groups, require_probable
from melanoma_ray.metrics.clusters import Clusters
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Estimate, quantile, share_interval

_MAX_DRAWN_AT_ONCE = 2_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationError:
    """The expected calibration error, and what it has to be compared with."""

    plug_in: float
    """As usually given: too high, since chance alone makes frequencies differ from probabilities."""
    debiased: Estimate
    """Without most of what chance adds; its interval begins at 0 where the plug-in value may be chance."""
    if_calibrated: float
    """Mean plug-in value that these probabilities would show if they were all true."""
    if_calibrated_high: float
    """Value that it would exceed in one sample of forty."""


class _Bins(NamedTuple):
    number: Int64[np.ndarray, " image"]
    weight: Float64[np.ndarray, " bin"]
    """Share of the images."""
    excess: Float64[np.ndarray, " bin"]
    """Mean probability minus frequency."""


def expected_calibration_error(
    probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], num_bins: int = 10
) -> float:
    """Return the mean difference between probability and frequency over bins with equally many images.

    With bins of equal width most would be empty, since most images are no melanoma. Equal probabilities are in the
    same bin, so the order of the images doesn't matter.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        num_bins: Number of bins, 1 or more.

    Raises:
        MetricError: There are no images or no bins, the shapes differ, a value is outside [0, 1], or the truth isn't
            boolean.

    References:
        Naeini 2015, doi:10.1609/aaai.v29i1.9602; equal-mass bins: Nguyen & O'Connor 2015, doi:10.18653/v1/D15-1182.

    >>> round(expected_calibration_error(np.full(5, 0.2), np.array([True, False, False, False, False])), 12)
    0.0
    """
    require_probable(probability, is_positive)
    return _plug_in(_gather(probability, is_positive, num_bins))


def estimate_calibration_error(
    probability: Float[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
    *,
    num_bins: int = 10,
    num_draws: int = 1000,
    seed: int = 0,
) -> CalibrationError:
    """Return the expected calibration error without its bias, with an interval, beside that of a calibrated model.

    The bias is estimated by adding normal noise, as large as that of each bin's frequency, to the differences once
    more and seeing how much their mean size grows; about half of the bias of a perfectly calibrated model stays.
    For a calibrated model truths are drawn from the probabilities themselves, one random number for each group.

    Args:
        probability: Probability of being positive, in [0, 1].
        is_positive: Whether each image is positive in truth.
        group: Lesion or patient of each image; none: each image is its own.
        num_bins: Number of bins, 1 or more.
        num_draws: Number of simulated truths of a calibrated model, 1 or more.
        seed: Seed of these.

    Raises:
        MetricError: As for ``expected_calibration_error``, or ``num_draws`` is not positive.

    References:
        Debiased by normal noise: Kumar, Liang & Ma 2019, arXiv:1909.10155, appendix, here with the expectation in
        closed form (folded normal distribution) and variances over groups; the same idea for squared errors: Bröcker
        2012, doi:10.1007/s00382-011-1191-1. Truths drawn from the probabilities: Bröcker & Smith 2007,
        doi:10.1175/WAF993.1.
    """
    require_probable(probability, is_positive)
    if num_draws < 1:
        msg = f"num_draws={num_draws}: expected 1 or more"
        raise MetricError(msg)
    exact = probability.astype(np.float64)
    clusters = Clusters.build(group, exact)
    bins = _gather(exact, is_positive, num_bins)
    plug_in = _plug_in(bins)
    noise = _noise_by_bin(exact, is_positive, bins, clusters)
    grown = float((bins.weight * _folded_mean(np.abs(bins.excess), noise)).sum())
    value = min(max(2 * plug_in - grown, 0.0), 1.0)
    simulated = _simulate_calibrated(exact, bins, clusters, np.random.default_rng(seed), num_draws)
    chance = float(np.quantile(simulated, 0.975))
    num_groups = rarer_groups(is_positive, clusters)
    is_sparse = num_groups < SPARSE_BELOW
    step = _standard_steps(exact, is_positive, bins, clusters, is_sparse=is_sparse)
    if step == 0:
        step = share_interval(0.0, max(exact.size / clusters.mean_size, 1.0))[1]
    debiased = Estimate(
        value=value,
        low=0.0 if plug_in <= chance else max(value - step, 0.0),
        high=min(value + step, 1.0),
        numerator=None,
        denominator=exact.size,
        num_groups=num_groups,
        is_sparse=is_sparse,
    )
    return CalibrationError(
        plug_in=plug_in,
        debiased=debiased,
        if_calibrated=float(simulated.mean()),
        if_calibrated_high=chance,
    )


def _gather(probability: Float[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], num_bins: int) -> _Bins:
    _, number = np.unique(assign_bins(probability, num_bins), return_inverse=True)
    count = np.bincount(number)
    excess = np.bincount(number, weights=probability.astype(np.float64) - is_positive)
    return _Bins(number, count / probability.size, excess / count)


def _plug_in(bins: _Bins) -> float:
    return float((bins.weight * np.abs(bins.excess)).sum())


def _noise_by_bin(
    probability: Float64[np.ndarray, " image"], is_positive: Bool[np.ndarray, " image"], bins: _Bins, clusters: Clusters
) -> Float64[np.ndarray, " bin"]:
    """Return the standard error of each bin's frequency over groups, moderated by what the probabilities say."""
    noise = np.empty(bins.weight.size)
    for number in range(noise.size):
        chosen = bins.number == number
        within = clusters.select(chosen)
        deviation = probability[chosen] - is_positive[chosen] - bins.excess[number]
        doubt = float((probability[chosen] * (1 - probability[chosen])).mean()) * within.mean_size
        noise[number] = moderate(within.spread(deviation / deviation.size), doubt / deviation.size).variance
    return np.sqrt(noise)


def _folded_mean(
    mean: Float64[np.ndarray, " bin"], deviation: Float64[np.ndarray, " bin"]
) -> Float64[np.ndarray, " bin"]:
    """Return the mean size of a normally distributed number (its distribution folded at 0)."""
    ratio = np.divide(mean, deviation, out=np.full_like(mean, np.inf), where=deviation > 0)
    folded = deviation * math.sqrt(2 / math.pi) * np.exp(-(ratio**2) / 2)
    return np.asarray(folded + mean * (1 - 2 * special.ndtr(-ratio)))


def _standard_steps(
    probability: Float64[np.ndarray, " image"],
    is_positive: Bool[np.ndarray, " image"],
    bins: _Bins,
    clusters: Clusters,
    *,
    is_sparse: bool,
) -> float:
    """Return half of the interval's width: each image moves the sum of sizes by its bin's sign."""
    excess = probability - is_positive - bins.excess[bins.number]
    sign = np.where(bins.excess < 0, -1.0, 1.0)[bins.number]
    doubt = float((probability * (1 - probability)).mean()) * clusters.mean_size / excess.size
    spread = moderate(clusters.spread(sign * excess / excess.size), doubt)
    return quantile(spread.df, is_sparse=is_sparse) * math.sqrt(spread.variance)


def _simulate_calibrated(
    probability: Float64[np.ndarray, " image"],
    bins: _Bins,
    clusters: Clusters,
    rng: np.random.Generator,
    num_draws: int,
) -> Float64[np.ndarray, " draw"]:
    """Return plug-in values under truths that are drawn from the probabilities, in memory that doesn't grow."""
    order = np.argsort(bins.number, kind="stable")
    starts = np.searchsorted(bins.number[order], np.arange(bins.weight.size))
    sorted_probability, sorted_group = probability[order], clusters.index[order]
    expected = np.add.reduceat(sorted_probability, starts)
    at_once = max(_MAX_DRAWN_AT_ONCE // probability.size, 1)
    values = []
    for first in range(0, num_draws, at_once):
        draws = rng.random((min(at_once, num_draws - first), clusters.num_groups))
        is_positive = draws[:, sorted_group] < sorted_probability
        found = np.add.reduceat(is_positive, starts, axis=1, dtype=np.float64)
        values.append(np.abs(found - expected).sum(axis=1) / probability.size)
    return np.concatenate(values)
