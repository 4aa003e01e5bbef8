"""Do two judges agree more than chance would make them, lesion by lesion?"""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Shaped

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import PRIOR_GROUPS, Clusters
from melanoma_ray.metrics.inputs import require_paired, require_truth
from melanoma_ray.metrics.intervals import SPARSE_BELOW, Estimate, quantile, share_interval
from melanoma_ray.metrics.proportions import measure_share


def estimate_kappa(
    first: Bool[np.ndarray, " image"],
    second: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> Estimate:
    """Return Cohen's kappa of two judges' yes or no: 1 is perfect agreement, 0 what chance alone would make.

    The interval is by the delta method over groups, and no narrower than what the interval of the raw agreement gives
    at the same chance agreement, so it has a width where both agree on everything.

    Args:
        first: The first judge's word for each image.
        second: The second one's.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, both say the same to all of them, the shapes differ, or an array isn't
            boolean.

    References:
        Cohen 1960, doi:10.1177/001316446002000104; its variance: Fleiss, Cohen & Everitt 1969, doi:10.1037/h0028106,
        here over groups.

    >>> first = np.array([True] * 40 + [False] * 60)
    >>> second = np.array([True] * 30 + [False] * 60 + [True] * 10)
    >>> found = estimate_kappa(first, second)
    >>> f"{found.value:.3f} ({found.low:.2f} to {found.high:.2f})"
    '0.583 (0.40 to 0.75)'
    """
    require_paired(first, second)
    require_truth(first)
    require_truth(second)
    clusters = Clusters.build(group, first)
    share_first, share_second = float(first.mean()), float(second.mean())
    by_chance = share_first * share_second + (1 - share_first) * (1 - share_second)
    if by_chance == 1:
        msg = f"kappa is undefined: both judges say the same to all {first.size} images"
        raise MetricError(msg)
    agrees = first == second
    agreement = measure_share(agrees, clusters)
    value = (agreement.value - by_chance) / (1 - by_chance)
    is_sparse = _count_rarer(second, clusters) < SPARSE_BELOW
    step = _half_width(first, second, clusters, is_sparse=is_sparse)
    ends = [(end - by_chance) / (1 - by_chance) for end in share_interval(agreement.value, agreement.size)]
    return Estimate(
        value=value,
        low=max(min(value - step, ends[0]), -1.0),
        high=min(max(value + step, ends[1]), 1.0),
        numerator=None,
        denominator=first.size,
        num_groups=_count_rarer(second, clusters),
        is_sparse=is_sparse,
    )


def _half_width(
    first: Bool[np.ndarray, " image"], second: Bool[np.ndarray, " image"], clusters: Clusters, *, is_sparse: bool
) -> float:
    """Return half the width of the interval by the delta method."""
    share_first, share_second = first.mean(), second.mean()
    by_chance = share_first * share_second + (1 - share_first) * (1 - share_second)
    agrees = (first == second).astype(np.float64)
    chance = (first - share_first) * (2 * share_second - 1) + (second - share_second) * (2 * share_first - 1)
    influence = (agrees - agrees.mean()) / (1 - by_chance) - (1 - agrees.mean()) * chance / (1 - by_chance) ** 2
    spread = clusters.spread(influence / first.size)
    return quantile(spread.df + PRIOR_GROUPS, is_sparse=is_sparse) * math.sqrt(spread.variance)


def _count_rarer(is_positive: Bool[np.ndarray, " image"], clusters: Clusters) -> int:
    """Return the number of groups with an image of the rarer kind; where there is one kind, of that."""
    kinds = [clusters.select(chosen).num_groups for chosen in (is_positive, ~is_positive) if chosen.any()]
    return min(kinds)
