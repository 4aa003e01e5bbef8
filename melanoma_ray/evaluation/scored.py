"""The predictions for some images beside what is true of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from melanoma_ray.api import Decision
from melanoma_ray.diagnoses import MELANOMA, ReferredFor, class_numbers
from melanoma_ray.inference.predictor import Predictions


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Scored:
    """The predictions for some images, with what is true of them."""

    predictions: Predictions
    truth: np.ndarray
    """True diagnosis of each image; it may be one that the model doesn't have."""
    group: Int[np.ndarray, " image"]
    """Number of each image's group, because images of one group, such as one lesion, aren't independent."""
    diagnoses: tuple[str, ...]
    """Diagnoses of the model, in the order of its outputs."""
    referred: tuple[str, ...] = (MELANOMA,)
    """Diagnoses that must be referred: melanomas, or malignant ones (``referred_for``)."""
    malignant: tuple[str, ...] = (MELANOMA,)
    """Diagnoses that are malignant."""
    tells_other_cancers: bool = True
    """Whether the true diagnoses tell other cancers from benign lesions; melanoma or other doesn't."""
    about: ReferredFor = "melanoma"
    """What the figures are about. Of images whose diagnoses don't tell melanoma from other cancers only malignancy can
    be told, whatever the model refers for."""

    @property
    def target(self) -> Int[np.ndarray, " image"]:
        """Class number of each image's true diagnosis; -1: the model doesn't have it."""
        return class_numbers(self.truth, self.diagnoses)

    @property
    def predicted(self) -> Int[np.ndarray, " image"]:
        """Class number of the predicted diagnosis of each image; -1: there is no answer."""
        return self.predictions.diagnosis

    @property
    def is_melanoma(self) -> Bool[np.ndarray, " image"]:
        """Whether each image must be referred in truth: a melanoma, or what the model refers for."""
        return np.isin(self.truth.astype(str), self.referred)

    @property
    def is_malignant(self) -> Bool[np.ndarray, " image"]:
        """Whether each image is malignant in truth."""
        return np.isin(self.truth.astype(str), self.malignant)

    @property
    def score(self) -> Float[np.ndarray, " image"]:
        """Probability of what the figures are about."""
        if self.about == "malignancy" and self.malignant:
            return self.malignancy_probability
        return self.predictions.melanoma_probability

    @property
    def malignancy_probability(self) -> Float[np.ndarray, " image"]:
        """Summed probability of the malignant diagnoses."""
        numbers = [number for number, name in enumerate(self.diagnoses) if name in self.malignant]
        return np.asarray(self.predictions.probability[:, numbers].sum(axis=1))

    def is_decided(self, decision: Decision) -> Bool[np.ndarray, " image"]:
        """Return which images have a decision."""
        return np.array([found == decision for found in self.predictions.decision], bool)

    @property
    def is_referred(self) -> Bool[np.ndarray, " image"]:
        """Whether the decision for each image is to refer it."""
        return self.is_decided("refer")

    def select(self, rows: Bool[np.ndarray, " image"]) -> Scored:
        """Return some of the images."""
        return replace(self, predictions=self.predictions.select(rows), truth=self.truth[rows], group=self.group[rows])
