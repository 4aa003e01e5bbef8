"""Simulated images whose true figures are known: lesions with one or several photographs, scored by a model.

Scores are normal, with variance 1 among images that are no melanoma; ``LIKENESS`` of the variance is the lesion's, so
its photographs are alike. A label belongs to the lesion.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

Fault = tuple[float, float]
"""What is done to a true logit: it is multiplied, then shifted."""
LIKENESS = 0.7
"""Share of the scores' variance that photographs of one lesion have in common."""
MEAN_SIZE = {"1": 1.0, "3": 3.0, "10": 10.0, "1–10": 2.76}
"""Mean number of images of a lesion, by the names that the tables give."""
DIAGNOSIS_SHARES = (0.66, 0.11, 0.11, 0.05, 0.03, 0.02, 0.02)
"""Share of the lesions by diagnosis, about those of HAM10000."""
CUT = 0.75
"""Where between the means of both kinds the threshold lies: 0.75 of the way to the melanomas'."""


class Images(NamedTuple):
    """Simulated images."""

    score: np.ndarray
    is_melanoma: np.ndarray
    lesion: np.ndarray


class Labelled(NamedTuple):
    """Simulated images with a probability, which may be false, and the true one."""

    probability: np.ndarray
    is_melanoma: np.ndarray
    lesion: np.ndarray
    truth: np.ndarray


class Diagnosed(NamedTuple):
    """Simulated images with their target and the model's answer."""

    predicted: np.ndarray
    target: np.ndarray
    lesion: np.ndarray


def draw_sizes(rng: np.random.Generator, size: str, num_lesions: int) -> np.ndarray:
    """Return the number of images of each lesion; of "1–10" most have one or two and few many."""
    if size == "1–10":
        return np.minimum(rng.geometric(0.35, num_lesions), 10)
    return np.full(num_lesions, int(size))


def distance_of(auroc: float, spread: float) -> float:
    """Return how far the melanomas' mean score lies above the others'."""
    return float(special.ndtri(auroc)) * math.sqrt(1 + spread**2)


def draw_scores(rng: np.random.Generator, lesion: np.ndarray) -> np.ndarray:
    """Return standard normal scores, alike within a lesion."""
    shared = rng.normal(size=lesion[-1] + 1)[lesion]
    return np.asarray(math.sqrt(LIKENESS) * shared + math.sqrt(1 - LIKENESS) * rng.normal(size=lesion.size))


def draw_images(rng: np.random.Generator, counts: tuple[int, int], size: str, *, auroc: float, spread: float) -> Images:
    """Draw images of (melanoma, other) lesions; the melanomas' scores have the standard deviation ``spread``."""
    sizes = draw_sizes(rng, size, sum(counts))
    lesion = np.repeat(np.arange(sizes.size), sizes)
    is_melanoma = lesion < counts[0]
    noise = draw_scores(rng, lesion)
    score = np.where(is_melanoma, distance_of(auroc, spread) + spread * noise, noise)
    return Images(score, is_melanoma, lesion)


@cache
def true_ranking(auroc: float, spread: float, prevalence: float) -> dict[str, float]:
    """Return the true figures of such scores, by numerical integration over the melanomas' quantiles."""
    quantile = (np.arange(200_000) + 0.5) / 200_000
    score = distance_of(auroc, spread) + spread * special.ndtri(quantile)
    fpr, sensitivity = special.ndtr(-score), 1 - quantile
    ppv = prevalence * sensitivity / (prevalence * sensitivity + (1 - prevalence) * fpr)
    cut = CUT * distance_of(auroc, spread)
    sensitivity_at_cut = float(special.ndtr((distance_of(auroc, spread) - cut) / spread))
    fpr_at_cut = float(special.ndtr(-cut))
    rare = 0.02 * sensitivity_at_cut
    return {
        "auroc": auroc,
        "average precision": float(ppv.mean()),
        "partial auroc": float(((1 - fpr) * (quantile < 0.2)).mean()),
        "sensitivity": sensitivity_at_cut,
        "specificity": 1 - fpr_at_cut,
        "ppv at 2 %": rare / (rare + 0.98 * fpr_at_cut),
    }


def draw_labelled(
    rng: np.random.Generator,
    num_lesions: int,
    size: str,
    *,
    prevalence: float,
    auroc: float,
    fault: Fault,
) -> Labelled:
    """Draw images with the probability that the score implies, its logit multiplied and shifted by a fault."""
    sizes = draw_sizes(rng, size, num_lesions)
    lesion = np.repeat(np.arange(num_lesions), sizes)
    is_melanoma = (rng.random(num_lesions) < prevalence)[lesion]
    distance = distance_of(auroc, 1.0)
    score = draw_scores(rng, lesion) + distance * is_melanoma
    logit = math.log(prevalence / (1 - prevalence)) + distance * score - distance**2 / 2
    return Labelled(special.expit(fault[0] * logit + fault[1]), is_melanoma, lesion, special.expit(logit))


@cache
def true_calibration(prevalence: float, auroc: float, fault: Fault) -> dict[str, float]:
    """Return the true figures of such probabilities, from a million images."""
    rng = np.random.default_rng(0)
    drawn = draw_labelled(rng, 1_000_000, "1", prevalence=prevalence, auroc=auroc, fault=fault)
    probability, truth = drawn.probability, drawn.truth
    order = np.argsort(probability)
    excess = (probability - truth)[order].reshape(10, -1).mean(axis=1)
    is_referred = truth >= prevalence
    logit, shift = special.logit(probability), 0.0
    for _ in range(50):
        fitted = special.expit(logit + shift)
        shift += float((truth - fitted).sum() / (fitted * (1 - fitted)).sum())
    return {
        "brier score": float(((probability - truth) ** 2 + truth * (1 - truth)).mean()),
        "calibration error": float(np.abs(excess).mean()),
        "calibration slope": 1 / fault[0],
        "calibration intercept": shift,
        "ppv": float(truth[is_referred].mean()),
        "npv": 1 - float(truth[~is_referred].mean()),
    }


def count_diagnoses(num_lesions: int) -> list[int]:
    """Return the number of lesions of each diagnosis, the commonest first."""
    return [max(round(share * num_lesions), 2) for share in DIAGNOSIS_SHARES]


def true_f1(num_lesions: int, recalls: tuple[float, ...]) -> float:
    """Return the true F1 of the commonest diagnosis: wrong answers fall on the other diagnoses evenly."""
    counts = count_diagnoses(num_lesions)
    found = counts[0] * recalls[0]
    wrongly = sum(count * (1 - recall) for count, recall in zip(counts[1:], recalls[1:], strict=True))
    return 2 * found / (counts[0] + found + wrongly / (len(counts) - 1))


def draw_diagnosed(rng: np.random.Generator, num_lesions: int, size: str, recalls: tuple[float, ...]) -> Diagnosed:
    """Draw images of as many diagnoses as recalls; a wrong answer is one of the other diagnoses, at random."""
    counts = count_diagnoses(num_lesions)
    of_lesion = np.repeat(np.arange(len(counts)), counts)
    sizes = draw_sizes(rng, size, of_lesion.size)
    lesion = np.repeat(np.arange(of_lesion.size), sizes)
    target = of_lesion[lesion]
    is_right = draw_scores(rng, lesion) < special.ndtri(np.array(recalls))[target]
    other = (target + rng.integers(1, len(counts), target.size)) % len(counts)
    return Diagnosed(np.where(is_right, target, other), target, lesion)
