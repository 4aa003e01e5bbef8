"""From an image to a decision: used by finalisation, evaluation, batch triage and the service alike."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from melanoma_ray import storage
from melanoma_ray.api import Decision
from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import CheckpointError, DataError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.imaging.dicom import file_warnings
from melanoma_ray.imaging.quality import measure_quality
from melanoma_ray.inference.agreement import use_quickest
from melanoma_ray.inference.scorer import Outputs, Scorer, build_scorer
from melanoma_ray.metrics.conformal import predict_sets
from melanoma_ray.model.calibration import Calibration, calibrated_probability, energy
from melanoma_ray.model.checkpoint import Manifest, find_checkpoint, identify, read_bank, read_manifest, read_weights
from melanoma_ray.patients import encode_metadata
from melanoma_ray.schema import Sex, Site


@dataclass(frozen=True, kw_only=True, slots=True)
class Assessment:
    """The answer for one image, as plain values."""

    probabilities: dict[str, float]
    """Calibrated probability of each diagnosis, in [0, 1]; their sum is 1. Empty: there is no answer."""
    melanoma_probability: float | None
    """Probability that was compared with the decision threshold; none: there is no answer."""
    diagnosis: str | None
    """Predicted diagnosis; none: there is no answer."""
    decision: Decision
    error: str | None
    """Reason why there is no answer; none: there is one."""
    prediction_set: tuple[str, ...] | None = None
    """Diagnoses that the image may have, with the coverage that the manifest states; none: there is no answer, or the
    checkpoint is older than prediction sets."""
    warnings: tuple[str, ...] = ()
    """What is wrong with the image itself (``imaging/quality.py``, ``imaging/dicom.py``); they change no decision."""
    out_of_distribution_score: float | None = None
    """How unlike the training images it is, on the scale of the manifest's threshold; none: it isn't finite."""


NOT_FINITE = "the network's answer isn't finite (NaN or infinite logits), so a person must look"
"""Reason why there is no answer for an image that could be read."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Probabilities and decisions, one row for each image."""

    probability: Float32[np.ndarray, "image diagnosis"]
    """Calibrated probability of each diagnosis, in [0, 1]; NaN for an image without an answer."""
    melanoma_probability: Float32[np.ndarray, " image"]
    """Summed probability of the diagnoses that are referred: melanoma, or all malignant ones (``referred_for``)."""
    diagnosis: Int64[np.ndarray, " image"]
    """Class number of the predicted diagnosis, chosen as ``DecisionConfig.diagnosis_by`` says; -1: no answer."""
    decision: tuple[Decision, ...]
    in_set: Bool[np.ndarray, "image diagnosis"] | None = None
    """Which diagnoses are in the prediction set of each image; none: the checkpoint is older than prediction sets."""

    warnings: tuple[tuple[str, ...], ...] | None = None
    """What is wrong with each image itself (``imaging/quality.py``); none: it wasn't looked for."""
    runtime: str | None = None
    """What computed the networks, as ``Outputs.runtime``; none: nobody said."""
    out_of_distribution_score: Float[np.ndarray, " image"] | None = None
    """How unlike the training images each image is, on the scale of the manifest's threshold; none: nobody said."""

    @property
    def is_answered(self) -> Bool[np.ndarray, " image"]:
        """Whether there is an answer for each image: not if a logit was NaN or infinite."""
        return np.asarray(self.diagnosis >= 0)

    def __len__(self) -> int:
        return len(self.decision)

    def select(self, rows: Bool[np.ndarray, " image"]) -> Predictions:
        """Return those for some of the images."""
        return Predictions(
            probability=self.probability[rows],
            melanoma_probability=self.melanoma_probability[rows],
            diagnosis=self.diagnosis[rows],
            decision=tuple(decision for decision, is_kept in zip(self.decision, rows, strict=True) if is_kept),
            in_set=None if self.in_set is None else self.in_set[rows],
            warnings=None
            if self.warnings is None
            else tuple(found for found, is_kept in zip(self.warnings, rows, strict=True) if is_kept),
            runtime=self.runtime,
            out_of_distribution_score=None
            if self.out_of_distribution_score is None
            else self.out_of_distribution_score[rows],
        )

    def with_warnings(self, further: Sequence[tuple[str, ...]]) -> Predictions:
        """Return the same with further warnings.

        Args:
            further: Of each image, such as what its file says of it.
        """
        found = self.warnings or ((),) * len(self)
        return replace(self, warnings=tuple((*own, *more) for own, more in zip(found, further, strict=True)))

    def name_sets(self, diagnoses: Sequence[str]) -> list[tuple[str, ...] | None]:
        """Return the prediction set of each image as names; none: there is no answer, or no sets.

        Args:
            diagnoses: Diagnoses of the model, in the order of its outputs.
        """
        if self.in_set is None:
            return [None] * len(self)
        return [
            tuple(name for name, is_in in zip(diagnoses, row, strict=True) if is_in) if is_answered else None
            for row, is_answered in zip(self.in_set, self.is_answered, strict=True)
        ]

    def assess(self, diagnoses: Sequence[str]) -> list[Assessment]:
        """Return the answer for each image, as plain values.

        Args:
            diagnoses: Diagnoses of the model, in the order of its outputs.
        """
        sets, warnings = self.name_sets(diagnoses), self.warnings or ((),) * len(self)
        rows = zip(
            self.probability, self.melanoma_probability, self.diagnosis, self.decision, sets, warnings, strict=True
        )
        scores = self._finite_scores()
        return [
            Assessment(
                probabilities=dict(zip(diagnoses, map(float, probability), strict=True)),
                melanoma_probability=float(melanoma),
                diagnosis=diagnoses[number],
                decision=decision,
                error=None,
                prediction_set=prediction_set,
                warnings=found,
                out_of_distribution_score=score,
            )
            if number >= 0
            else Assessment(
                probabilities={},
                melanoma_probability=None,
                diagnosis=None,
                decision=decision,
                error=NOT_FINITE,
                warnings=found,
                out_of_distribution_score=score,
            )
            for (probability, melanoma, number, decision, prediction_set, found), score in zip(
                rows, scores, strict=True
            )
        ]

    def _finite_scores(self) -> list[float | None]:
        """Return the out-of-distribution score of each image; none where it isn't finite, or nobody said."""
        if self.out_of_distribution_score is None:
            return [None] * len(self)
        return [float(score) if np.isfinite(score) else None for score in self.out_of_distribution_score]


def decide(outputs: Outputs, manifest: Manifest) -> Predictions:
    """Return probabilities and decisions for what the networks said.

    Args:
        outputs: Logits of the images, and their distances where the manifest has a threshold for these.
        manifest: Diagnoses, calibration and thresholds of the model.
    """
    logits, calibration, diagnoses = outputs.logits, manifest.calibration, manifest.diagnoses
    is_finite = np.isfinite(logits).all(axis=1)
    probability = calibrated_probability(logits, calibration)
    melanoma = probability[:, [diagnoses.index(name) for name in manifest.referred]].sum(axis=1)
    unlikeness = _unlikeness(outputs, calibration)
    is_like = is_finite & _is_like(unlikeness, outputs, calibration)
    is_referred = melanoma >= calibration.decision_threshold  # not where it is NaN
    by = probability if manifest.experiment.decision.diagnosis_by == "calibrated" else logits
    return Predictions(
        probability=probability,
        melanoma_probability=melanoma,
        diagnosis=np.where(is_finite, by.argmax(axis=1), -1),
        decision=tuple(_decision(bool(r), bool(u)) for r, u in zip(is_referred, ~is_like, strict=True)),
        in_set=predict_sets(probability, calibration.set_thresholds) if calibration.set_thresholds else None,
        warnings=None if outputs.warnings is None else tuple(outputs.warnings),
        runtime=outputs.runtime or None,
        out_of_distribution_score=unlikeness,
    )


def _unlikeness(outputs: Outputs, calibration: Calibration) -> Float[np.ndarray, " image"]:
    """Return the score that is compared with the out-of-distribution threshold."""
    if calibration.out_of_distribution_score == "energy":
        return np.asarray(energy(outputs.logits))
    assert outputs.distance is not None
    return np.asarray(outputs.distance[:, 0])


def _is_like(
    unlikeness: Float[np.ndarray, " image"], outputs: Outputs, calibration: Calibration
) -> Bool[np.ndarray, " image"]:
    """Return which images are like those of training; not where a distance is NaN."""
    is_familiar = unlikeness <= calibration.out_of_distribution_threshold
    if calibration.out_of_distribution_score == "energy" or calibration.appearance_threshold is None:
        return np.asarray(is_familiar)
    assert outputs.distance is not None
    return np.asarray(is_familiar & (outputs.distance[:, 1] <= calibration.appearance_threshold))


def _decision(is_referred: bool, is_unlike: bool) -> Decision:  # noqa: FBT001
    """Return the decision; an image that is both is referred, since that is the graver of two reasons to look."""
    if is_referred:
        return "refer"
    return "unassessable" if is_unlike else "routine"


def _default_device() -> str:
    """Return the device that Ray has assigned, or in a script that doesn't use Ray a GPU if there is one."""
    if "ray" not in sys.modules:
        return "cuda" if torch.cuda.is_available() else "cpu"
    from melanoma_ray.cluster.resources import assigned_device  # noqa: PLC0415 - a script needs no Ray

    return assigned_device()


class Predictor:
    """A checkpoint that is loaded and ready to decide about images."""

    def __init__(self, manifest: Manifest, scorer: Scorer, checkpoint_id: str) -> None:
        """Keep the parts; use ``load`` to make one from a checkpoint."""
        self.manifest = manifest
        self.checkpoint_id = checkpoint_id
        self.scorer = scorer

    @classmethod
    def load(
        cls,
        checkpoint: str,
        device: str | None = None,
        *,
        member: int | None = None,
        runtime: Literal["quickest", "reference"] = "quickest",
    ) -> Predictor:
        """Return the predictor of a checkpoint.

        Args:
            checkpoint: Checkpoint directory, run directory or a sweep's best.json.
            device: Device to score on, such as ``cpu`` or ``cuda``; by default the one that Ray assigned,
                or in a script of its own a GPU if there is one.
            member: Number, from 0, of the only network of an ensemble to use; by default all are used.
            runtime: What computes the networks. quickest: the quickest for this processor that was found to agree with
                the reference (``agreement``), which takes some seconds more to load; reference: PyTorch in fp32.

        Raises:
            CheckpointError: The checkpoint is missing, damaged or of another format version, or its weights don't fit
                its experiment.
        """
        uri = find_checkpoint(checkpoint)
        manifest = read_manifest(uri)
        weights = read_weights(uri, manifest)
        bank = read_bank(uri, manifest)
        members = weights if member is None else weights[member : member + 1]
        own = bank if member is None or bank is None else bank.only(member)
        where = device or _default_device()
        try:
            scorer = build_scorer(members, manifest.experiment, len(manifest.diagnoses), where, own)
        except RuntimeError as error:
            msg = f"checkpoint {uri}: its weights don't fit its experiment ({str(error).splitlines()[0]})"
            raise CheckpointError(msg) from error
        if runtime == "quickest":
            use_quickest(scorer, partial(decide, manifest=manifest))
        return cls(manifest, scorer, identify(uri))

    def decode(self, encoded: bytes) -> UInt8[np.ndarray, "side side 3"]:
        """Return the crop of an encoded image, made as in the preparation of the training images.

        Raises:
            DecodeError: The bytes aren't a usable image.
        """
        return decode_image(encoded, self.image).pixels

    @property
    def image(self) -> ImageConfig:
        """Settings by which encoded images become crops."""
        return self.manifest.image

    def predict(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"] | None = None,
        *,
        is_alone: bool = True,
    ) -> Predictions:
        """Return probabilities, decisions and warnings for crops.

        Args:
            pixels: The crops, RGB.
            metadata: Metadata from ``encode_metadata``; none: unknown for all images.
            is_alone: Whether no other thread asks this predictor meanwhile, so that all threads may work on these.
        """
        decided = decide(self.scorer.answer(pixels, metadata, is_alone=is_alone), self.manifest)
        return replace(decided, warnings=tuple(measure_quality(crop).warnings for crop in pixels))

    def predict_file(
        self, path: str | Path, *, age: float | None = None, sex: Sex | None = None, site: Site | None = None
    ) -> Assessment:
        """Return the answer for one encoded image in a file.

        Args:
            path: Path of the file, local or s3://.
            age: Age of the patient, years; none: unknown. A model that doesn't use metadata ignores age, sex and site.
            sex: Sex of the patient; none: unknown.
            site: Site of the lesion on the body; none: unknown.

        Raises:
            DataError: The file can't be read, or isn't a usable image (``DecodeError``).
        """
        try:
            encoded = storage.read_bytes(str(path))
        except OSError as error:
            msg = f"{path}: can't be read ({error}); give the path of an image"
            raise DataError(msg) from error
        metadata = encode_metadata(pd.DataFrame([{"age": age, "sex": sex, "site": site}]))
        predictions = self.predict(self.decode(encoded)[None], metadata).with_warnings([file_warnings(encoded)])
        return predictions.assess(self.manifest.diagnoses)[0]

    def describe(self) -> dict[str, object]:
        """Return the facts about the model as plain values, for reports."""
        manifest = self.manifest
        return {
            "checkpoint_id": self.checkpoint_id,
            "parent": manifest.parent,
            "network": manifest.experiment.model.network,
            "num_members": manifest.num_members,
            "ensemble_over": manifest.ensemble_over,
            "image_side_px": manifest.experiment.model.image_side,
            "uses_metadata": manifest.experiment.model.uses_metadata,
            "diagnoses": list(manifest.diagnoses),
            "referred_for": manifest.referred_for,
            "calibration": asdict(manifest.calibration),
            "data_fingerprint": manifest.data_fingerprint,
            "is_synthetic": manifest.is_synthetic,
            "created_at": manifest.created_at,
            "versions": manifest.versions,
        }
