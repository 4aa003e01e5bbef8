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
from melanoma_ray.imaging.appearance import MEASUREMENTS
from melanoma_ray.inference.measures import DECIMALS, MEASURES
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
        DataError: There are too few images, or too few of the validation split.
    """
    if len(served) < _LEAST_IMAGES:
        msg = f"{len(served)} different images of this checkpoint: expected {_LEAST_IMAGES} or more; {served.advice}"
        raise DataError(msg)
    found = _compare(EVERYTHING, served, validation)
    if not found:
        known = max(len(_finite(values)) for values in validation.values())
        msg = (
            f"{known} images of the validation split in the checkpoint: expected {_LEAST_IMAGES} or more, so nothing "
            "can be compared with them; train with more (--split.val-fraction of jobs.prepare)"
        )
        raise DataError(msg)
    numbers = served.count_by_source()
    for source in sorted(numbers) if len(numbers) > 1 else []:  # a single one is everything
        if numbers[source] >= _LEAST_IMAGES:
            # A source may be called what everything is, and no folder or caller ``./``.
            name = f"./{source}" if source == EVERYTHING else source
            found += _compare(name, served.of_source(source), validation)
    return found


def _compare(source: str, served: Served, validation: Mapping[str, Float[np.ndarray, " image"]]) -> list[Shift]:
    rows, p_values = [], []
    for measure in MEASURES:
        new, old = (_as_written(measure, table[measure]) for table in (served.measures, validation))
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
            expected_psi=len(_find_ends(old)) * (1 / len(new) + 1 / len(old)),
            p_value=p_value,
            mean=float(new.mean()),
            validation_mean=float(old.mean()),
        )
        for (measure, new, old), p_value in zip(rows, correct_by_holm(p_values), strict=True)
    ]


def population_stability_index(new: Float[np.ndarray, " image"], old: Float[np.ndarray, " image"]) -> float:
    """Return the index over the ten bins that hold a tenth of the old values each; 0: the same shares are in each.

    A value that a tenth of the old ones or more have has a bin of its own, so that a move away from it shows. Half an
    image is added to each bin, so that an empty one doesn't make it infinite.

    Args:
        new: Values to compare; one or more, all finite.
        old: Values that they are compared with; one or more, all finite.
    """
    ends = _find_ends(old)
    shares = [
        (np.bincount(np.searchsorted(ends, values, side="right"), minlength=len(ends) + 1) + 0.5)
        / (len(values) + 0.5 * (len(ends) + 1))
        for values in (new, old)
    ]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def _find_ends(old: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " end"]:
    """Return where a bin ends and the next one begins, which has this value."""
    values, numbers = np.unique(old, return_counts=True)
    tied = values[numbers >= len(old) / _NUM_BINS]
    quantiles = np.quantile(old, np.linspace(0, 1, _NUM_BINS + 1)[1:-1])
    return np.unique(np.concatenate([quantiles, tied, np.nextafter(tied, np.inf)]))


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


def _as_written(measure: str, values: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    """Return the finite values as precisely as both sides have them, or equal ones would differ."""
    found = _finite(values).astype(np.float32).astype(np.float64)
    return found.round(DECIMALS) if measure in MEASUREMENTS else found


def _finite(values: Float[np.ndarray, " image"]) -> Float64[np.ndarray, " image"]:
    return np.asarray(values[np.isfinite(values)], np.float64)
