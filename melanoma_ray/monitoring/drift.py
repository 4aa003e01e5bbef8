"""How far what is served has moved away from the validation split: an index of stability and a two-sample test.

Compared are the score that is held against the threshold, how unlike the training images are, and seven measurements of
how they look. The index says how large a shift is, the test whether chance alone would make it; neither says that the
answers are wrong, only that the images aren't those on which the model was measured.

References:
    Yurdakul & Naranjo 2020, doi:10.21314/JRMV.2020.227 (the index and its distribution without a shift); Kolmogorov and
    Smirnov's test as in SciPy; the marks 0.1 and 0.25 are credit scoring's (Siddiqi 2006, ISBN 978-0-471-75451-0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float64
from scipy.stats import ks_2samp

from melanoma_ray.errors import DataError
from melanoma_ray.inference.measures import MEASURES
from melanoma_ray.monitoring.served import Served

SOME_SHIFT: Final = 0.1
LARGE_SHIFT: Final = 0.25
_SURE: Final = 0.01
"""p-value below which a shift isn't taken for chance, after Holm's correction for all comparisons of a source."""
_NUM_BINS = 10
_LEAST_IMAGES = 30
"""Fewest images of a source that are compared: with 30, chance alone gives an index of 0.3 on average."""
EVERYTHING = "all"
"""Name of all sources together."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shift:
    """One measure of one source beside the validation split."""

    source: str
    measure: str
    num_images: int
    psi: float
    """Population stability index: 0 for equal distributions; from 0.25 on the shift is large."""
    expected_psi: float
    """What it would be on average by chance alone, with so few images."""
    p_value: float
    """Of Kolmogorov and Smirnov's two-sample test, corrected by Holm for the measures of this source."""
    mean: float
    validation_mean: float

    @property
    def is_large(self) -> bool:
        """Whether it is both large and no chance."""
        return self.psi > LARGE_SHIFT and self.p_value < _SURE


def measure_drift(served: Served, validation: Mapping[str, Float[np.ndarray, " image"]]) -> list[Shift]:
    """Return the shifts of all images together and of each source with enough of them, sorted by source.

    Args:
        served: What was served.
        validation: The same measures of the validation split's images.

    Raises:
        DataError: There are too few images.
    """
    if len(served) < _LEAST_IMAGES:
        msg = (
            f"{len(served)} images of this checkpoint in the window: expected {_LEAST_IMAGES} or more; give more --days"
        )
        raise DataError(msg)
    sources = [name for name, number in served.count_by_source().items() if number >= _LEAST_IMAGES]
    found = _compare(EVERYTHING, served, validation)
    for source in sorted(sources) if len(sources) > 1 else []:
        found += _compare(source, served.of_source(source), validation)
    return found


def _compare(source: str, served: Served, validation: Mapping[str, Float[np.ndarray, " image"]]) -> list[Shift]:
    rows, p_values = [], []
    for measure in MEASURES:
        new, old = (_finite(table[measure]) for table in (served.measures, validation))
        if min(len(new), len(old)) < _LEAST_IMAGES:
            continue
        rows.append((measure, new, old))
        p_values.append(float(ks_2samp(new, old).pvalue))
    return [
        Shift(
            source=source,
            measure=measure,
            num_images=len(new),
            psi=population_stability_index(new, old),
            expected_psi=(_NUM_BINS - 1) * (1 / len(new) + 1 / len(old)),
            p_value=p_value,
            mean=float(new.mean()),
            validation_mean=float(old.mean()),
        )
        for (measure, new, old), p_value in zip(rows, correct_by_holm(p_values), strict=True)
    ]


def population_stability_index(new: Float[np.ndarray, " image"], old: Float[np.ndarray, " image"]) -> float:
    """Return the index over the ten bins that hold a tenth of the old values each; 0: the same shares are in each.

    Half an image is added to each bin, so that an empty one doesn't make it infinite.

    Args:
        new: Values to compare; one or more, all finite.
        old: Values that they are compared with; one or more, all finite.
    """
    ends = np.unique(np.quantile(old, np.linspace(0, 1, _NUM_BINS + 1)[1:-1]))
    shares = [
        (np.bincount(np.searchsorted(ends, values, side="right"), minlength=len(ends) + 1) + 0.5)
        / (len(values) + 0.5 * (len(ends) + 1))
        for values in (new, old)
    ]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def correct_by_holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number (Holm 1979).

    >>> correct_by_holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    corrected = np.empty(len(p_values))
    worst = 0.0
    for rank, place in enumerate(order):
        worst = max(worst, min(1.0, p_values[place] * (len(p_values) - rank)))
        corrected[place] = worst
    return [float(value) for value in corrected]


def _finite(values: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    return np.asarray(values[np.isfinite(values)], np.float64)
