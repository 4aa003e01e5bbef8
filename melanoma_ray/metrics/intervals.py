"""Estimates: a value together with its 95 % interval and the numbers of images and groups that it stands on.

No interval has width zero, however few or alike the images are. Which method is used where was chosen by simulated
truth (benchmarks/coverage.py, docs/coverage.md).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Float64
from scipy import special

from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.clusters import PRIOR_GROUPS, Spread

Z_95 = NormalDist().inv_cdf(0.975)
"""Standard normal quantile that leaves 2.5 % on each side, about 1.96."""
SPARSE_BELOW = 20
"""Fewer groups (of melanomas, or of the others) are too few to say; intervals there are wide on purpose."""
_GRID = 64
"""Quantiles of each posterior of ``propagate``."""
_SPARSE_TAIL = 0.985
"""Probability up to each end of an interval from sparse data, where 0.975 covered less than 95 % in simulation."""


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
    num_groups: int | None = None
    """Number of groups (lesions, patients) of these images, of the rarer kind where two kinds are compared."""
    is_sparse: bool = False
    """Whether there are too few groups (less than ``SPARSE_BELOW``) to say more than the interval does."""

    def to_dict(self) -> dict[str, float | int | bool | None]:
        """Return plain values that JSON can hold."""
        return asdict(self)


def quantile(df: float, *, is_sparse: bool = False) -> float:
    """Return the quantile of Student's t that a two-sided 95 % interval uses; from sparse data a larger one."""
    return float(special.stdtrit(max(df, 1.0), _SPARSE_TAIL if is_sparse else 0.975))


def wilson_interval(successes: float | int, total: float | int, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's score interval of a share, by default the 95 % one.

    Unlike the textbook's p ± 1.96 s it stays inside [0, 1] and has a width at 0 of n and n of n, where the sensitivity
    over few melanomas often is.

    Args:
        successes: Number of successes, in [0, total]; needn't be an integer, because the mean of values in [0, 1]
            varies no more than a share.
        total: Number of independent trials, 1 or more; needn't be an integer where images are worth less than a trial.
        z: Normal quantile of the interval's ends.

    Raises:
        MetricError: ``total`` is below 1, or ``successes`` is outside [0, total].

    References:
        Wilson 1927, doi:10.1080/01621459.1927.10502953.

    >>> low, high = wilson_interval(0, 20)
    >>> f"{low:.3f} to {high:.3f}"
    '0.000 to 0.161'
    """
    if not total >= 1:
        msg = f"total={total}: the interval of a share needs 1 image or more"
        raise MetricError(msg)
    if not 0 <= successes <= total:
        msg = f"successes={successes}: expected 0 to {total}"
        raise MetricError(msg)
    share = successes / total
    scale = 1 + z**2 / total
    centre = (share + z**2 / (2 * total)) / scale
    half_width = z / scale * math.sqrt(share * (1 - share) / total + z**2 / (4 * total**2))
    # At 0 of n and n of n the end is exactly 0 or 1, which the formula misses by a rounding error.
    low = 0.0 if successes == 0 else centre - half_width
    high = 1.0 if successes == total else centre + half_width
    return low, high


def share_interval(share: float, size: float, z: float = Z_95) -> tuple[float, float]:
    """Return Wilson's interval, widened to a Poisson limit where at most 3 successes or failures were seen.

    Wilson's interval misses a true sensitivity of 99 % in one sample of ten from 50 melanomas; the limit mends that.

    Args:
        share: Share seen, in [0, 1].
        size: Number of independent trials, 1 or more, not necessarily an integer.
        z: Normal quantile of the interval's ends.

    References:
        Brown, Cai & DasGupta 2001, doi:10.1214/ss/1009213286, section 4.1.1 (modified Wilson interval).
    """
    low, high = wilson_interval(share * size, size, z)
    tail = 2 * NormalDist().cdf(-z)  # of one side only: the limit of the other is beyond reach
    successes, failures = share * size, (1 - share) * size
    if 0 < successes <= 3:
        low = min(low, float(special.chdtri(2 * successes, 1 - tail)) / 2 / size)
    if 0 < failures <= 3:
        high = max(high, 1 - float(special.chdtri(2 * failures, 1 - tail)) / 2 / size)
    return low, high


def score_interval(value: float, variance_at: Callable[[float], float], z: float = Z_95) -> tuple[float, float]:
    """Return the values in [0, 1] from which ``value`` is at most z standard errors away, the error being theirs.

    Args:
        value: Value seen, in [0, 1].
        variance_at: Variance that the figure would have if its true value were the argument.
        z: Normal quantile of the interval's ends.
    """

    def find_end(inside: float, outside: float) -> float:
        for _ in range(45):
            middle = (inside + outside) / 2
            if abs(value - middle) > z * math.sqrt(variance_at(middle)):
                outside = middle
            else:
                inside = middle
        return inside

    return find_end(value, 0.0), find_end(value, 1.0)


def moderated_interval(
    value: float, spread: Spread, reference: tuple[float, float], *, is_sparse: bool = False
) -> tuple[float, float]:
    """Return an interval in [0, 1] between what the groups' variation says and what a model of it would say.

    From few groups, or few that are wrong, a variance can't be learnt: it is often far too small, and zero where all
    is right. So the distances to both ends are averaged, in squares and on the logit scale, with those of
    ``reference``, each with its degrees of freedom as weight. With many groups only what was seen counts.

    Args:
        value: Value seen, in [0, 1].
        spread: Of the value over the groups.
        reference: Ends of an interval that needs no variance from the data, by 1.96 standard errors.
        is_sparse: Whether to be wide on purpose.

    References:
        Moderated variance and its degrees of freedom: Smyth 2004, doi:10.2202/1544-6115.1027; delta method on the
        logit scale for the AUROC: Pepe 2003, The Statistical Evaluation of Medical Tests, section 5.2.4.
    """
    if not 0 < value < 1:
        return reference
    df = spread.df + PRIOR_GROUPS
    z = quantile(df, is_sparse=is_sparse)
    logit = special.logit(value)
    seen = z * math.sqrt(spread.variance) / (value * (1 - value))

    def end(limit: float, sign: int) -> float:
        assumed = float(special.logit(limit) - logit) * z / Z_95 if 0 < limit < 1 else math.inf
        step = math.sqrt((spread.df * seen**2 + PRIOR_GROUPS * assumed**2) / df)
        return float(special.expit(logit + sign * step))

    return end(reference[0], -1), end(reference[1], 1)


def mover_interval(
    estimates: Sequence[Estimate], correlation: Float[np.ndarray, "estimate estimate"]
) -> tuple[float, float]:
    """Return the interval of the mean of estimates from their own intervals: the method of variance recovery.

    Args:
        estimates: One or more.
        correlation: Between each two of the estimates.

    References:
        Zou & Donner 2008, doi:10.1002/sim.3095; with correlations: Zou 2007, doi:10.1037/1082-989X.12.4.399.
    """
    value = np.array([estimate.value for estimate in estimates])
    down = value - [estimate.low for estimate in estimates]
    up = [estimate.high for estimate in estimates] - value
    mean = float(value.mean())
    low, high = (math.sqrt(max(float(step @ correlation @ step), 0.0)) / value.size for step in (down, up))
    return mean - low, mean + high


def propagate(
    figure: Callable[[Float64[np.ndarray, " draw"], Float64[np.ndarray, " draw"]], Float64[np.ndarray, " draw"]],
    first: tuple[float, float],
    second: tuple[float, float],
) -> tuple[float, float]:
    """Return the 95 % interval of a figure that two independent shares decide, such as PPV at another prevalence.

    Each share gets its Jeffreys posterior; the figure is computed on a grid of both posteriors' quantiles, so nothing
    is drawn at random. The interval holds the figure at the shares themselves, also where they are 0 or 1.

    Args:
        figure: Of the first share and the second one; may be infinite.
        first: Share and its effective number of images.
        second: The same.

    References:
        Brown, Cai & DasGupta 2001, doi:10.1214/ss/1009213286 (Jeffreys interval).
    """
    middle = (np.arange(_GRID) + 0.5) / _GRID
    draws = [
        special.betaincinv(share * size + 0.5, (1 - share) * size + 0.5, middle) for share, size in (first, second)
    ]
    columns, rows = np.meshgrid(*draws)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = np.sort(figure(columns.ravel(), rows.ravel()))
        seen = float(figure(np.array([first[0]]), np.array([second[0]]))[0])
    ends = [float(values[round(tail * (values.size - 1))]) for tail in (0.025, 0.975)]
    if math.isnan(seen):
        return ends[0], ends[1]
    return min(ends[0], seen), max(ends[1], seen)
