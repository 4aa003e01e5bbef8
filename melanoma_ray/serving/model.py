"""One checkpoint in a replica: its predictor, its description, and its answers as the service gives them."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from jaxtyping import Float32, UInt8

from melanoma_ray.api import ModelCard, Prediction
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.serving.upload import MAX_BATCH_BYTES, MAX_BATCH_IMAGES

Crop = UInt8[np.ndarray, "side side 3"]


def build_card(predictor: Predictor, max_image_bytes: int) -> ModelCard:
    """Return the description of a model, from its manifest.

    Args:
        predictor: The model.
        max_image_bytes: Largest encoded image that the service accepts, bytes.
    """
    manifest = predictor.manifest
    calibration = manifest.calibration
    return ModelCard(
        checkpoint_id=predictor.checkpoint_id,
        network=manifest.experiment.model.network,
        diagnoses=list(manifest.diagnoses),
        referred=list(manifest.referred),
        image_side_px=manifest.experiment.model.image_side,
        image_aspect=manifest.image.aspect,
        cuts_border=manifest.image.crop_border,
        temperature=calibration.temperature,
        bias=list(calibration.bias),
        diagnosis_by=manifest.experiment.decision.diagnosis_by,
        decision_threshold=calibration.decision_threshold,
        target_sensitivity=manifest.experiment.decision.target_sensitivity,
        out_of_distribution_threshold=calibration.out_of_distribution_threshold,
        out_of_distribution_score=calibration.out_of_distribution_score,
        set_coverage=calibration.set_coverage,
        always_in_set=list(manifest.always_in_set),
        data_fingerprint=manifest.data_fingerprint,
        is_synthetic=manifest.is_synthetic,
        uses_metadata=manifest.experiment.model.uses_metadata,
        max_image_bytes=min(max_image_bytes, manifest.image.max_bytes),
        max_batch_images=MAX_BATCH_IMAGES,
        max_batch_bytes=MAX_BATCH_BYTES,
        versions=manifest.versions,
        runtime=predictor.scorer.runtime.name,
    )


class ServedModel:
    """A checkpoint that answers requests."""

    def __init__(self, checkpoint: str, max_image_bytes: int) -> None:
        """Load it; torch's threads must be set before.

        Args:
            checkpoint: Checkpoint directory, run directory or a sweep's best.json.
            max_image_bytes: Largest encoded image that the service accepts, bytes.

        Raises:
            CheckpointError: The checkpoint can't be used.
        """
        self.predictor = Predictor.load(checkpoint)
        self.card = build_card(self.predictor, max_image_bytes)

    def decode(self, encoded: bytes) -> Crop:
        """Return the crop of an image; raises DecodeError."""
        return self.predictor.decode(encoded)

    def predict(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"],
        *,
        is_alone: bool = True,
    ) -> list[Prediction]:
        """Return the predictions for crops.

        Args:
            pixels: The crops.
            metadata: What is known of each patient (``patients.encode_patient``).
            is_alone: Whether nothing else computes meanwhile, so that all threads may work on these.
        """
        predictions = self.predictor.predict(pixels, metadata, is_alone=is_alone)
        return [
            Prediction(
                image_id=None,
                **asdict(assessment),
                decision_threshold=self.card.decision_threshold,
                target_sensitivity=self.card.target_sensitivity,
                referred_for=self.predictor.manifest.referred_for,
                checkpoint_id=self.card.checkpoint_id,
                is_synthetic=self.card.is_synthetic,
                runtime=self.card.runtime,
            )
            for assessment in predictions.assess(self.card.diagnoses)
        ]
