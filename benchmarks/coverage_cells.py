"""The cells of the coverage tables: what is simulated, and which intervals hold the true figure."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product

import numpy as np
from scipy import special

from benchmarks.coverage_truth import (
    CUT,
    MEAN_SIZE,
    Images,
    distance_of,
    draw_diagnosed,
    draw_images,
    draw_labelled,
    true_calibration,
    true_f1,
    true_ranking,
)
from melanoma_ray.errors import MetricError
from melanoma_ray.metrics.calibration import assign_bins, estimate_brier_score, estimate_calibration_line
from melanoma_ray.metrics.calibration_error import estimate_calibration_error
from melanoma_ray.metrics.clusters import Clusters
from melanoma_ray.metrics.comparison import compare_auroc, compare_shares
from melanoma_ray.metrics.intervals import Estimate, wilson_interval
from melanoma_ray.metrics.multiclass import estimate_balanced_accuracy, measure_diagnoses
from melanoma_ray.metrics.proportions import (
    estimate_accuracy,
    estimate_npv,
    estimate_ppv,
    estimate_sensitivity,
    estimate_specificity,
)
from melanoma_ray.metrics.ranking import (
    estimate_auroc,
    estimate_average_precision,
    estimate_partial_auroc,
    rank_auroc,
    spread_of_ranking,
)
from melanoma_ray.metrics.tables import decision_curve, measure_point

Interval = tuple[float, float]
Held = dict[str, tuple[float, Interval]]
"""True value and interval by figure; a rival's figure has its name after a bar."""
_NUM_RESAMPLES = 200
_NUM_BOOTSTRAPPED = 200
"""Repetitions of a cell that also get a bootstrap, which takes as long as all else together."""
_WITH_TABLES = (0.85, 0.99)
"""AUROCs whose cells also have what follows from the threshold, and differences."""
_NUM_DRAWS = 200
"""Truths of a calibrated model that are drawn for each sample; a report draws more."""
_MAX_BOOTSTRAPPED = 500
"""Images of a cell with a bootstrap."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One simulated situation."""

    scenario: str
    num_images: int
    num_melanomas: float
    """Melanoma lesions; expected ones where labels are drawn; lesions of the rarest diagnosis in "diagnoses"."""
    size: str
    """Images a lesion."""
    auroc: float
    variant: str = ""

    @property
    def num_lesions(self) -> int:
        """Lesions of all kinds."""
        return round(self.num_images / MEAN_SIZE[self.size])

    @property
    def num_rarer(self) -> float:
        """Lesions of the rarer kind."""
        return min(self.num_melanomas, self.num_lesions - self.num_melanomas)

    @property
    def key(self) -> str:
        """What a stored result is known by."""
        return repr(asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """Coverage in a cell, by figure."""

    cell: Cell
    covered: dict[str, float]
    """Share of the repetitions in which the interval holds the true figure."""
    width: dict[str, float]
    """Mean width."""
    repetitions: dict[str, int]
    """Repetitions in which the figure was defined."""


_RECALLS = {
    "usual": (0.9, 0.75, 0.7, 0.8, 0.7, 0.6, 0.95),
    "nearly all right": (0.99, 0.98, 0.98, 0.97, 0.98, 0.97, 0.99),
}
_FAULTS = {"true": (1.0, 0.0), "too extreme": (2.0, 0.0), "too high": (1.0, 0.8)}
_SPREADS = {"": 1.0, "melanomas vary more": 1.6}


def list_cells() -> Iterator[Cell]:
    """Yield every cell in which there are at least 5 other lesions."""
    for size, num_images, num_melanomas in product(MEAN_SIZE, (50, 200, 2000), (2, 5, 10, 20, 50, 100, 300)):
        if num_images / MEAN_SIZE[size] - num_melanomas >= 5:
            yield from _list_ranking_cells(size, num_images, num_melanomas)
    yield from _list_calibration_cells()
    for size, num_lesions, variant in product(MEAN_SIZE, (50, 200, 1000), _RECALLS):
        yield Cell(
            scenario="diagnoses",
            num_images=round(num_lesions * MEAN_SIZE[size]),
            num_melanomas=max(round(0.02 * num_lesions), 2),
            size=size,
            auroc=0.0,
            variant=variant,
        )


def _list_ranking_cells(size: str, num_images: int, num_melanomas: int) -> Iterator[Cell]:
    common = Cell(scenario="ranking", num_images=num_images, num_melanomas=num_melanomas, size=size, auroc=0.9)
    for auroc in (0.7, 0.85, 0.95, 0.99):
        yield replace(common, auroc=auroc)
    if size == "1":
        yield replace(common, variant="melanomas vary more")


def _list_calibration_cells() -> Iterator[Cell]:
    situations = ((200, 0.05, 0.8), (200, 0.2, 0.95), (1000, 0.1, 0.8), (2000, 0.15, 0.95))
    for size, (num_images, prevalence, auroc), variant in product(("1", "3", "1–10"), situations, _FAULTS):
        yield Cell(
            scenario="calibration",
            num_images=num_images,
            num_melanomas=round(prevalence * num_images / MEAN_SIZE[size], 1),
            size=size,
            auroc=auroc,
            variant=variant,
        )


def measure_cell(cell: Cell, num_repetitions: int) -> Result:
    """Simulate a cell and count how often each interval holds the true figure; seeded by the cell itself."""
    rng = np.random.default_rng(zlib.crc32(cell.key.encode()))
    covered: dict[str, int] = defaultdict(int)
    width: dict[str, float] = defaultdict(float)
    defined: dict[str, int] = defaultdict(int)
    for repetition in range(num_repetitions):
        has_bootstrap = repetition < _NUM_BOOTSTRAPPED and cell.num_images <= _MAX_BOOTSTRAPPED
        for name, (truth, (low, high)) in _SCENARIOS[cell.scenario](rng, cell, has_bootstrap=has_bootstrap).items():
            covered[name] += low - 1e-9 <= truth <= high + 1e-9
            width[name] += high - low
            defined[name] += 1
    return Result(
        cell=cell,
        covered={name: covered[name] / count for name, count in defined.items()},
        width={name: width[name] / count for name, count in defined.items()},
        repetitions=dict(defined),
    )


def _measure_ranking(rng: np.random.Generator, cell: Cell, *, has_bootstrap: bool) -> Held:
    counts = int(cell.num_melanomas), cell.num_lesions - int(cell.num_melanomas)
    spread = _SPREADS[cell.variant]
    images = draw_images(rng, counts, cell.size, auroc=cell.auroc, spread=spread)
    score, melanoma, lesion = images
    truth = true_ranking(cell.auroc, spread, round(float(melanoma.mean()), 3))
    is_referred = score >= CUT * distance_of(cell.auroc, spread)
    estimates: dict[str, Estimate | None] = {
        "auroc": estimate_auroc(score, melanoma, lesion),
        "average precision": estimate_average_precision(score, melanoma, lesion),
        "partial auroc": estimate_partial_auroc(score, melanoma, lesion),
        "sensitivity": estimate_sensitivity(is_referred, melanoma, lesion),
        "specificity": estimate_specificity(is_referred, melanoma, lesion),
    }
    held = _hold(truth, estimates)
    held["auroc | naive"] = cell.auroc, _naive_auroc(score, melanoma)
    for name in ("sensitivity", "specificity"):
        held[f"{name} | naive"] = truth[name], _naive_share(estimates[name])
    if has_bootstrap:
        held["auroc | bootstrap"] = cell.auroc, _bootstrap(rng, lesion, _resample_auroc(score, melanoma))
    if cell.auroc in _WITH_TABLES:
        held |= _measure_tables(images, cell, truth) | _measure_differences(rng, images, cell, truth)
    return held


def _measure_tables(images: Images, cell: Cell, truth: dict[str, float]) -> Held:
    """PPV at a prevalence of 2 %, and the net benefit at the threshold."""
    score, melanoma, lesion = images
    cut = CUT * distance_of(cell.auroc, _SPREADS[cell.variant])
    probability = float(special.expit(cut))
    benefit = decision_curve(special.expit(score), melanoma, lesion, thresholds=(probability,))[0].model
    share = float(melanoma.mean())
    cost = (1 - share) * probability / (1 - probability)
    true_benefit = share * truth["sensitivity"] - cost * (1 - truth["specificity"])
    ppv = measure_point(score >= cut, melanoma, lesion, prevalence=0.02).ppv
    return _hold(truth | {"net benefit": true_benefit}, {"ppv at 2 %": ppv, "net benefit": benefit})


def _measure_differences(rng: np.random.Generator, images: Images, cell: Cell, truth: dict[str, float]) -> Held:
    """The model less one whose scores have as much noise again, at the same threshold."""
    score, melanoma, lesion = images
    spread = _SPREADS[cell.variant]
    distance = distance_of(cell.auroc, spread)
    cut, noisy = CUT * distance, float(np.hypot(spread, 1.0))
    other = score + rng.normal(size=score.size)
    worse = float(special.ndtr(distance / np.sqrt(noisy**2 + 2)))
    fewer = float(special.ndtr((distance - cut) / noisy))
    aurocs = compare_auroc(other, score, melanoma, lesion).difference
    shares = compare_shares((other >= cut)[melanoma], (score >= cut)[melanoma], lesion[melanoma]).difference
    true_differences = {
        "difference of aurocs": cell.auroc - worse,
        "difference of sensitivities": truth["sensitivity"] - fewer,
    }
    return _hold(true_differences, dict(zip(true_differences, (aurocs, shares), strict=True)))


def _measure_calibration(rng: np.random.Generator, cell: Cell, *, has_bootstrap: bool) -> Held:
    prevalence = round(cell.num_melanomas * MEAN_SIZE[cell.size] / cell.num_images, 2)
    fault = _FAULTS[cell.variant]
    drawn = draw_labelled(rng, cell.num_lesions, cell.size, prevalence=prevalence, auroc=cell.auroc, fault=fault)
    probability, melanoma, lesion, _ = drawn
    truth = true_calibration(prevalence, cell.auroc, fault)
    error = estimate_calibration_error(probability, melanoma, lesion, num_draws=_NUM_DRAWS)
    brier = estimate_brier_score(probability, melanoma, lesion)
    is_referred = drawn.truth >= prevalence
    ppv = estimate_ppv(is_referred, melanoma, lesion) if is_referred.any() else None
    npv = estimate_npv(is_referred, melanoma, lesion) if not is_referred.all() else None
    named = {"brier score": brier, "calibration error": error.debiased, "ppv": ppv, "npv": npv}
    held = _hold(truth, named)
    if ppv is not None:
        held["ppv | naive"] = truth["ppv"], _naive_share(ppv)
    squares = (probability - melanoma) ** 2
    step = 1.96 * float(squares.std()) / squares.size**0.5
    held["brier score | naive"] = truth["brier score"], (brier.value - step, brier.value + step)
    if has_bootstrap:
        resample = _resample_calibration_error(probability, melanoma)
        held["calibration error | bootstrap"] = truth["calibration error"], _bootstrap(rng, lesion, resample)
    try:
        line, plain = (estimate_calibration_line(probability, melanoma, group) for group in (lesion, None))
    except MetricError:  # perfectly separated
        return held
    held |= _hold(truth, {"calibration slope": line.slope, "calibration intercept": line.intercept})
    held["calibration slope | naive"] = truth["calibration slope"], (plain.slope.low, plain.slope.high)
    return held


def _measure_diagnoses(rng: np.random.Generator, cell: Cell, *, has_bootstrap: bool) -> Held:
    recalls = _RECALLS[cell.variant]
    predicted, target, lesion = draw_diagnosed(rng, cell.num_lesions, cell.size, recalls)
    accuracy = estimate_accuracy(predicted, target, lesion)
    truth = {
        "accuracy": float(np.array(recalls)[target].mean()),
        "balanced accuracy": float(np.mean(recalls)),
        "recall of the rarest": recalls[-1],
        "f1 of the commonest": true_f1(cell.num_lesions, recalls),
    }
    by_diagnosis = measure_diagnoses(np.eye(len(recalls))[predicted], target, lesion)
    estimates: dict[str, Estimate | None] = {
        "accuracy": accuracy,
        "f1 of the commonest": by_diagnosis[0].f1,
        "balanced accuracy": estimate_balanced_accuracy(predicted, target, lesion, len(recalls)),
        "recall of the rarest": by_diagnosis[-1].sensitivity,
    }
    held = _hold(truth, estimates)
    held["accuracy | naive"] = truth["accuracy"], _naive_share(accuracy)

    if has_bootstrap:
        resample = _resample_balanced_accuracy(predicted, target)
        held["balanced accuracy | bootstrap"] = truth["balanced accuracy"], _bootstrap(rng, lesion, resample)
    return held


_SCENARIOS: dict[str, Callable[..., Held]] = {
    "ranking": _measure_ranking,
    "calibration": _measure_calibration,
    "diagnoses": _measure_diagnoses,
}


def _hold(truth: dict[str, float], estimates: dict[str, Estimate | None]) -> Held:
    return {
        name: (truth[name], (estimate.low, estimate.high))
        for name, estimate in estimates.items()
        if estimate is not None
    }


def _naive_share(estimate: Estimate | None) -> Interval:
    """Return Wilson's interval, each image for itself."""
    assert estimate is not None
    return wilson_interval(estimate.numerator or 0, estimate.denominator)


def _naive_auroc(score: np.ndarray, is_melanoma: np.ndarray) -> Interval:
    """Return DeLong's interval on the logit scale, each image for itself."""
    ranking = rank_auroc(score, is_melanoma)
    value, variance = ranking.value, spread_of_ranking(ranking.influence, is_melanoma, Clusters.build(None, score))[0]
    if not 0 < value < 1:
        return value, value
    step = 1.96 * variance**0.5 / (value * (1 - value))
    logit = special.logit(value)
    return float(special.expit(logit - step)), float(special.expit(logit + step))


def _bootstrap(rng: np.random.Generator, lesion: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> Interval:
    """Return the percentile interval over resampled lesions, all resamples at once; without those that are undefined.

    Args:
        rng: Draws the lesions.
        lesion: Number of each image's lesion, rising.
        figure: From how often each image counts, a row for each resample, to the figure of each resample.
    """
    num_lesions = int(lesion[-1]) + 1
    drawn = rng.multinomial(num_lesions, np.full(num_lesions, 1 / num_lesions), size=_NUM_RESAMPLES)
    with np.errstate(invalid="ignore"):
        values = figure(drawn[:, lesion].astype(np.float64))
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _resample_auroc(score: np.ndarray, is_melanoma: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    order = np.argsort(score)
    is_positive = is_melanoma[order]

    def compute(times: np.ndarray) -> np.ndarray:
        weight = times[:, order]
        positives, others = weight * is_positive, weight * ~is_positive
        pairs = (positives * np.cumsum(others, axis=1)).sum(axis=1)
        return np.asarray(pairs / (positives.sum(axis=1) * others.sum(axis=1)))

    return compute


def _resample_calibration_error(probability: np.ndarray, is_melanoma: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The bins stay those of the sample."""
    excess = (probability - is_melanoma)[:, None] * np.eye(10)[assign_bins(probability, 10)]
    return lambda times: np.asarray(np.abs(times @ excess).sum(axis=1) / times.sum(axis=1))


def _resample_balanced_accuracy(predicted: np.ndarray, target: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    is_it = np.eye(int(target.max()) + 1)[target]
    is_right = is_it * (predicted == target)[:, None]
    return lambda times: np.asarray(np.nanmean((times @ is_right) / (times @ is_it), axis=1))
