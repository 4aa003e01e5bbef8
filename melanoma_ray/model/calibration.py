"""Calibration, fitted on the validation split at the end of training: temperature, biases and thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax

from melanoma_ray.config import DecisionConfig
from melanoma_ray.errors import DataError, TrainingError
from melanoma_ray.metrics.conformal import fit_set_thresholds
from melanoma_ray.metrics.thresholds import FixedThreshold, fix_thresholds, threshold_at_sensitivity
from melanoma_ray.model.likeness import OutOfDistributionScore

Logits = Float[np.ndarray, "image diagnosis"]
_TEMPERATURES = (0.05, 20.0)
"""Smallest and largest temperature that is looked for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The numbers by which logits become probabilities and decisions."""

    temperature: float
    """Number that logits are divided by, more than 0 (Guo 2017, arXiv:1706.04599)."""
    decision_threshold: float
    """Probability of melanoma (or of a malignant diagnosis, if none is melanoma) from which an image is referred."""
    out_of_distribution_threshold: float
    """Score above which an image is out of distribution."""
    out_of_distribution_score: OutOfDistributionScore = "energy"
    """What is compared with that threshold: the energy in older checkpoints, the distance to the bank of features."""
    appearance_threshold: float | None = None
    """Squared distance of an image's mere appearance above which it is out of distribution; none: it doesn't count."""
    bias: tuple[float, ...] = ()
    """Number that is added to each diagnosis's logit after the division; empty: none, as in older checkpoints."""
    num_validation_images: int
    """Number of images that all of this was fitted on."""
    num_validation_melanomas: int
    """Number of these images that must be referred: melanomas, or malignant ones where no diagnosis is melanoma."""
    operating_points: tuple[FixedThreshold, ...] = ()
    """Thresholds for other sensitivities and specificities, chosen on the same images; older checkpoints have none."""
    set_coverage: float | None = None
    """Share of the images of each diagnosis whose prediction set shall hold it; none: an older checkpoint."""
    set_thresholds: tuple[float, ...] = ()
    """Probability of each diagnosis from which it is in the set; 0: there were too few images, so it is in all."""
    doubts: tuple[str, ...] = ()
    """What is doubtful about the fit, one sentence each."""


def calibrated_probability(logits: Logits, calibration: Calibration) -> Logits:
    """Return the softmax of the logits divided by the temperature and moved by the biases; NaN where not finite."""
    scaled = logits.astype(np.float64) / calibration.temperature
    if calibration.bias:
        scaled += np.array(calibration.bias)
    scaled[~np.isfinite(scaled).all(axis=1)] = np.nan
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def energy(logits: Logits) -> Float[np.ndarray, " image"]:
    """Return minus the log-sum-exp of the logits, which is high where no diagnosis has a high logit.

    SciPy's own takes 0.2 ms for an image, of which a service has few.
    """
    exact = logits.astype(np.float64)
    highest = exact.max(axis=1)
    highest[~np.isfinite(highest)] = 0.0
    with np.errstate(divide="ignore", over="ignore"):  # an infinite logit has infinite energy
        return np.asarray(-(np.log(np.exp(exact - highest[:, None]).sum(axis=1)) + highest), np.float32)


def fit_scaling(logits: Logits, target: Int[np.ndarray, " image"]) -> tuple[float, tuple[float, ...], bool]:
    """Return the temperature and biases that minimise the negative log-likelihood, and whether it ended at a bound.

    The biases undo what a loss that weighs the diagnoses alike has added to the logits of rare ones: bias-corrected
    temperature scaling (Alexandari 2020, arXiv:1901.06852). Each has a standard normal prior, which counts as much as
    about one image, so a diagnosis with few validation images stays near its uncorrected probability.

    Args:
        logits: Logits of the images, finite.
        target: Target of each image.
    """
    rows, num_diagnoses = np.arange(len(target)), logits.shape[1]
    exact = logits.astype(np.float64)
    truth = np.zeros_like(exact)
    truth[rows, target] = 1

    def negative_log_posterior(parameters: Float[np.ndarray, " parameter"]) -> tuple[float, np.ndarray]:
        sharpness, bias = parameters[0], parameters[1:]  # in which the problem is convex
        log_probability = log_softmax(sharpness * exact + bias, axis=1)
        excess = np.exp(log_probability) - truth
        value = -log_probability[rows, target].sum() + 0.5 * (bias**2).sum()
        gradient = np.concatenate([[(excess * exact).sum()], excess.sum(axis=0) + bias])
        return value / len(target), gradient / len(target)

    least, most = 1 / _TEMPERATURES[1], 1 / _TEMPERATURES[0]
    found = minimize(
        negative_log_posterior,
        np.concatenate([[1.0], np.zeros(num_diagnoses)]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(least, most)] + [(None, None)] * num_diagnoses,
        options={"maxiter": 1_000, "ftol": 1e-12, "gtol": 1e-8},
    )
    sharpness, bias = float(found.x[0]), tuple(float(value) for value in found.x[1:])
    return 1 / sharpness, bias, bool(np.isclose([least, most], sharpness).any())


def fit_calibration(
    logits: Logits,
    target: Int[np.ndarray, " image"],
    *,
    referred: Sequence[int],
    config: DecisionConfig,
    distance: Float[np.ndarray, "image 2"] | None = None,
) -> Calibration:
    """Fit temperature and biases, the thresholds on the probabilities that they give, and that of unlike images.

    Args:
        logits: Logits of the validation split.
        target: Target of each image.
        referred: Class numbers that must be referred: melanoma, or where no class is melanoma, all malignant classes.
        config: Sensitivity to reach, share of images that must count as assessable, and coverage of prediction sets.
        distance: Distances of each image to training images, by features and by appearance; none: there is no bank,
            so the energy is used.

    Raises:
        DataError: The validation split has no image that must be referred, so no threshold can be chosen.
        TrainingError: Logits aren't finite.
    """
    is_finite = np.isfinite(logits).all(axis=1)
    if not is_finite.all():
        msg = (
            f"the logits of {(~is_finite).sum()} of {len(target)} validation images aren't finite: training diverged; "
            "lower optimizer.learning-rate, or train with --precision fp32"
        )
        raise TrainingError(msg)
    is_referred = np.isin(target, np.array(referred, np.int64))
    if not is_referred.any():
        msg = (
            f"0 of {len(target)} validation images are melanoma (or malignant, where no diagnosis is melanoma): "
            "add some, or enlarge split.val_fraction"
        )
        raise DataError(msg)
    temperature, bias, is_at_bound = fit_scaling(logits, target)
    fitted = Calibration(
        temperature=temperature,
        bias=bias,
        decision_threshold=1.0,
        **_fit_unlike(logits, distance, config.assessable_quantile),
        num_validation_images=len(target),
        num_validation_melanomas=int(is_referred.sum()),
        doubts=_doubts(temperature, is_at_bound=is_at_bound),
    )
    calibrated = calibrated_probability(logits, fitted)
    probability = calibrated[:, list(referred)].sum(axis=1)
    threshold = threshold_at_sensitivity(probability, is_referred, target_sensitivity=config.target_sensitivity)
    fixed = () if is_referred.all() else fix_thresholds(probability, is_referred)
    return replace(
        fitted,
        decision_threshold=threshold,
        operating_points=fixed,
        set_coverage=config.set_coverage,
        set_thresholds=fit_set_thresholds(calibrated, target, coverage=config.set_coverage),
    )


def _fit_unlike(logits: Logits, distance: Float[np.ndarray, "image 2"] | None, assessable: float) -> _Unlike:
    """Return the thresholds of unlike images; of two distances each gets half of those that may be unassessable."""
    if distance is None:
        return {"out_of_distribution_threshold": float(np.quantile(energy(logits).astype(np.float64), assessable))}
    by_features, by_appearance = np.quantile(distance.astype(np.float64), (1 + assessable) / 2, axis=0)
    return {
        "out_of_distribution_score": "distance",
        "out_of_distribution_threshold": float(by_features),
        "appearance_threshold": float(by_appearance),
    }


class _Unlike(TypedDict):
    out_of_distribution_threshold: float
    out_of_distribution_score: NotRequired[OutOfDistributionScore]
    appearance_threshold: NotRequired[float]


def _doubts(temperature: float, *, is_at_bound: bool) -> tuple[str, ...]:
    if not is_at_bound:
        return ()
    return (
        f"The fit of the temperature ended at its bound, {temperature:g}: the logits hardly tell the diagnoses apart, "
        "or tell all of the validation images apart, so the probabilities mean little.",
    )
