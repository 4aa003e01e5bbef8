"""What the network looked at in its surest errors and in some hits, whether that is so, and which cases are similar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32, Int, UInt8
from torch.nn.functional import normalize

from melanoma_ray.evaluation.scored import Scored
from melanoma_ray.evaluation.subject import Subject
from melanoma_ray.inference.explanation import Method, attribute, name_method
from melanoma_ray.inference.faithfulness import Faithfulness, measure_faithfulness
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.inference.scoring import draw_sample
from melanoma_ray.model.checkpoint import read_bank
from melanoma_ray.model.likeness import BANK_SIZE, FeatureBank

NUM_EACH = 6
"""Largest number of errors, and of hits, that are explained."""
NUM_SIMILAR = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Similar:
    """A training image whose features are like those of the explained one."""

    image_id: str
    diagnosis: str
    similarity: float
    """Cosine of the features, at most 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explained:
    """One explained image."""

    image_id: str
    path: str
    diagnosis: str
    """True diagnosis."""
    predicted: str
    """Predicted diagnosis, which the map is for."""
    probability: float
    """Calibrated probability of the predicted diagnosis."""
    is_right: bool
    faithfulness: Faithfulness
    similar: tuple[Similar, ...]
    """The nearest training images, the nearest first; empty: they aren't known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanations:
    """The explained images, and how far their maps can be believed."""

    method: Method
    images: tuple[Explained, ...]
    """The surest errors first, then hits, spread evenly over all."""
    num_wrong: int
    """Number of answered images whose predicted diagnosis is wrong; the surest of these are explained."""
    num_compared: int
    """Number of training images among which similar ones are looked for; in an ensemble over folds by each network."""
    no_similar: str
    """Why there are no similar cases; empty: there are."""

    @property
    def mean(self) -> Faithfulness:
        """Mean scores of the explained images."""
        found = [one.faithfulness for one in self.images]
        names = ("deletion", "deletion_at_random", "insertion", "insertion_at_random")
        return Faithfulness(**{name: float(np.mean([getattr(one, name) for one in found])) for name in names})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for report.json."""
        return asdict(self) | {"mean": asdict(self.mean), "num_images": len(self.images)}


def explain_images(subject: Subject, scored: Scored) -> Explanations | None:
    """Return maps' scores and similar training cases of the surest errors and some hits; none: there is no answer.

    Args:
        subject: The model and the images.
        scored: Its answers.

    Raises:
        ConfigError: The network can't be explained.
    """
    answered = scored.predictions.is_answered
    is_wrong = answered & (scored.predicted != scored.target)
    rows = np.concatenate([_surest(scored, is_wrong), _spread(answered & ~is_wrong)])
    if not len(rows):
        return None
    cases = _open_cases(subject)
    crops = subject.dataset.load_pixels(list(subject.images["path"].iloc[rows]))
    explained = tuple(_explain(subject, scored, int(row), crop, cases) for row, crop in zip(rows, crops, strict=True))
    return Explanations(
        method=name_method(subject.predictor),
        images=explained,
        num_wrong=int(is_wrong.sum()),
        num_compared=cases.number,
        no_similar=cases.reason,
    )


def predictor_of(subject: Subject, row: int) -> Predictor:
    """Return the predictor that answered for an image: in cross-validation the network of its fold."""
    if subject.split != "folds":
        return subject.predictor
    return Predictor.load(subject.uri, "cpu", member=int(subject.images["fold"].iloc[row]))


def _surest(scored: Scored, is_wrong: np.ndarray) -> Int[np.ndarray, " row"]:
    rows = np.flatnonzero(is_wrong)
    return np.asarray(rows[np.argsort(-_probability(scored)[rows], kind="stable")][:NUM_EACH])


def _probability(scored: Scored) -> Float32[np.ndarray, " image"]:
    """Return the probability of each image's predicted diagnosis; any number where there is no answer."""
    return np.asarray(scored.predictions.probability[np.arange(len(scored.truth)), scored.predicted])


def _spread(is_right: np.ndarray) -> Int[np.ndarray, " row"]:
    rows = np.flatnonzero(is_right)
    places = np.linspace(0, len(rows) - 1, min(NUM_EACH, len(rows))).round().astype(int)
    return np.asarray(rows[np.unique(places)])


def _explain(
    subject: Subject, scored: Scored, row: int, crop: UInt8[np.ndarray, "side side 3"], cases: _Cases
) -> Explained:
    image, predicted = subject.images.iloc[row], scored.diagnoses[scored.predicted[row]]
    predictor = predictor_of(subject, row)
    strength = attribute(predictor, crop, predicted)
    fold = int(image["fold"]) if subject.split == "folds" else None
    return Explained(
        image_id=str(image["image_id"]),
        path=str(image["path"]),
        diagnosis=str(image["diagnosis"]),
        predicted=predicted,
        probability=float(_probability(scored)[row]),
        is_right=bool(scored.predicted[row] == scored.target[row]),
        faithfulness=measure_faithfulness(predictor, crop, predicted, strength),
        similar=cases.find(predictor, crop, fold),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cases:
    """The training images whose features the checkpoint has, with their names where these are known."""

    bank: FeatureBank | None = None
    images: Sequence[pd.DataFrame] = ()
    """Rows of each network's table."""
    reason: str = ""

    @property
    def number(self) -> int:
        return max((len(rows) for rows in self.images), default=0)

    def find(
        self, predictor: Predictor, crop: UInt8[np.ndarray, "side side 3"], fold: int | None
    ) -> tuple[Similar, ...]:
        """Return the nearest training images, by the mean over the networks that know them.

        Args:
            predictor: The networks that answered: all of the checkpoint's, or that of a fold.
            crop: The crop, RGB.
            fold: The fold of the only network; none: all networks answered.
        """
        if self.bank is None:
            return ()
        bank = self.bank if fold is None else self.bank.only(fold)
        tables = self.images if fold is None else [self.images[fold]]
        features = torch.from_numpy(predictor.scorer.embed(crop[None])[0])
        parts = [
            rows[["path", "image_id", "diagnosis"]].assign(cosine=(table @ normalize(own, dim=0)).numpy())
            for rows, table, own in zip(tables, bank.members, features, strict=True)
        ]
        by_image = pd.concat(parts).groupby("path").agg({"image_id": "first", "diagnosis": "first", "cosine": "mean"})
        nearest = by_image.sort_values("cosine", ascending=False, kind="stable").head(NUM_SIMILAR)
        return tuple(
            Similar(image_id=str(one.image_id), diagnosis=str(one.diagnosis), similarity=float(str(one.cosine)))
            for one in nearest.itertuples()
        )


def _open_cases(subject: Subject) -> _Cases:
    """Return the training images of the bank, named by the prepared dataset if it is that of the training."""
    dataset, manifest = subject.dataset, subject.manifest
    bank = read_bank(subject.uri, manifest)
    if bank is None:
        return _Cases(reason="the checkpoint is older than its features of training images")
    if dataset.info.fingerprint != manifest.data_fingerprint:
        return _Cases(
            reason="the checkpoint has no names of its training images, and these images aren't of the prepared "
            "dataset of its training"
        )
    is_over_folds = manifest.ensemble_over == "folds"
    each = [dataset.with_fold(fold) if is_over_folds else dataset for fold in range(manifest.num_members)]
    images = [draw_sample(one, BANK_SIZE) for one in each]
    if [len(rows) for rows in images] != [len(table) for table in bank.members]:
        return _Cases(reason="the checkpoint's features of training images were drawn in another way")
    return _Cases(bank=bank, images=images)
