"""How good the answers are that remain when the most uncertain images are given to a person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Shaped

from melanoma_ray.metrics.inputs import require_scored
from melanoma_ray.metrics.intervals import Estimate
from melanoma_ray.metrics.proportions import estimate_share

KEPT = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
"""Shares of the images that remain, for which the error is given with an interval."""
_MOST_POINTS = 200
"""Largest number of points of a curve."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskAtCoverage:
    """The error among the images that remain."""

    kept: float
    """Share of the images that remain."""
    error: Estimate
    """Share of these whose answer is wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RiskCoverage:
    """The error by the share of images that remain, the surest ones."""

    kept: tuple[float, ...]
    """Share of the images that remain at each point, rising to 1."""
    error: tuple[float, ...]
    """Share of these whose answer is wrong."""
    area: float
    """Mean error over all numbers of images that remain (AURC); lower is better."""
    area_if_random: float
    """The same, expected of a confidence that knows nothing: the error of all images."""
    area_if_perfect: float
    """The same of a confidence that puts every wrong answer last."""
    num_images: int
    points: tuple[RiskAtCoverage, ...]
    """At the shares of ``KEPT``."""


def measure_risk_coverage(
    confidence: Float[np.ndarray, " image"],
    is_wrong: Bool[np.ndarray, " image"],
    group: Shaped[np.ndarray, " image"] | None = None,
) -> RiskCoverage:
    """Return the error among the surest images, for every share of them.

    Of images with equal confidence those that remain are taken at random, and the expected error is given. The points
    with intervals are an exception: there a tie is broken by the order of the images.

    Args:
        confidence: Confidence in the answer for each image, such as its largest probability; more is surer.
        is_wrong: Whether the answer is wrong.
        group: Lesion or patient of each image; none: each image is its own.

    Raises:
        MetricError: There are no images, the shapes differ, a confidence isn't finite, or ``is_wrong`` isn't boolean.

    References:
        El-Yaniv & Wiener 2010, JMLR 11; area: Geifman, Uziel & El-Yaniv 2019, arXiv:1805.08206.

    >>> curve = measure_risk_coverage(np.array([0.9, 0.8, 0.7, 0.6]), np.array([False, False, True, True]))
    >>> [round(error, 2) for error in curve.error], round(curve.area, 3) == round(curve.area_if_perfect, 3)
    ([0.0, 0.0, 0.33, 0.5], True)
    """
    require_scored(confidence, is_wrong)
    number = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    error = _expected_error(confidence[order], is_wrong[order])
    shown = np.unique(np.linspace(0, number - 1, min(number, _MOST_POINTS)).round().astype(int))
    groups = np.arange(number) if group is None else group
    kept = [max(1, round(share * number)) for share in KEPT]
    return RiskCoverage(
        kept=tuple(((shown + 1) / number).tolist()),
        error=tuple(error[shown].tolist()),
        area=float(error.mean()),
        area_if_random=float(is_wrong.mean()),
        area_if_perfect=float(_expected_error(-np.sort(is_wrong).astype(float), np.sort(is_wrong)).mean()),
        num_images=number,
        points=tuple(
            RiskAtCoverage(kept=share, error=estimate_share(is_wrong[order[:count]], groups[order[:count]]))
            for share, count in zip(KEPT, kept, strict=True)
        ),
    )


def _expected_error(
    confidence: Float[np.ndarray, " image"], is_wrong: Bool[np.ndarray, " image"]
) -> Float[np.ndarray, " image"]:
    """Return the expected error among the first k images, for each k, where ties are broken at random."""
    number = len(confidence)
    ends = np.append(np.flatnonzero(np.diff(confidence)), number - 1) + 1
    counts = np.concatenate([[0], np.cumsum(is_wrong)[ends - 1]])
    kept = np.arange(1, number + 1)
    return np.asarray(np.interp(kept, np.concatenate([[0], ends]), counts) / kept)
