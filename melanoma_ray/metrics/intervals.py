"""Estimates: a value together with its 95 % interval and the number of images that it was computed from."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from statistics import NormalDist

from melanoma_ray.errors import MetricError

Z_95 = NormalDist().inv_cdf(0.975)
"""Standard normal quantile that leaves 2.5 % on each side, about 1.96."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """The value of a metric with its 95 % confidence interval."""

    value: float
    low: float
    """Lower end of the 95 % interval."""
    high: float
    """Upper end of the 95 % interval."""
    numerator: int | None
    """Number of images that count for the metric; none where it isn't a plain share (AUROC, a mean of recalls)."""
    denominator: int
    """Number of images that the metric was computed on."""

    def to_dict(self) -> dict[str, float | int | None]:
        """Return plain values that JSON can hold."""
        return asdict(self)


def wilson_interval(successes: float | int, total: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval of a share.

    Unlike the textbook's p ± 1.96 s it stays inside [0, 1] and has a width at 0 of n and n of n, where the sensitivity
    over few melanomas often is.

    Args:
        successes: Number of successes, in [0, total]; needn't be an integer, because the mean of values in [0, 1]
            varies no more than a share.
        total: Number of independent trials, 1 or more.

    Raises:
        MetricError: ``total`` is not positive, or ``successes`` is outside [0, total].

    References:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.

    >>> low, high = wilson_interval(0, 20)
    >>> f"{low:.3f} to {high:.3f}"
    '0.000 to 0.161'
    """
    if total < 1:
        msg = f"total={total}: the interval of a share needs 1 image or more"
        raise MetricError(msg)
    if not 0 <= successes <= total:
        msg = f"successes={successes}: expected 0 to {total}"
        raise MetricError(msg)
    share = successes / total
    scale = 1 + Z_95**2 / total
    centre = (share + Z_95**2 / (2 * total)) / scale
    half_width = Z_95 / scale * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    # At 0 of n and n of n the end is exactly 0 or 1, which the formula misses by a rounding error.
    low = 0.0 if successes == 0 else centre - half_width
    high = 1.0 if successes == total else centre + half_width
    return low, high


def estimate_share(successes: int, total: int) -> Estimate:
    """Return a share of images with Wilson's interval.

    Raises:
        MetricError: As for ``wilson_interval``.
    """
    low, high = wilson_interval(successes, total)
    return Estimate(value=successes / total, low=low, high=high, numerator=successes, denominator=total)
