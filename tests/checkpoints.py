"""A real checkpoint with random weights, for tests that need one of the right format."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import torch

from melanoma_ray.config import ImageConfig
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.model.calibration import Calibration
from melanoma_ray.model.checkpoint import DataOrigin, write_checkpoint
from melanoma_ray.model.known import KNOWN
from melanoma_ray.model.likeness import FeatureBank
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import baseline


def build_checkpoint(
    directory: str,
    *,
    network: str = "baseline",
    side: int = 64,
    uses_metadata: bool = False,
    known: pa.Table | None = None,
    bank: FeatureBank | None = None,
    fingerprint: str = "0" * 64,
) -> str:
    """Write it, by default without known images and features of training images, and return its directory."""
    experiment = baseline()
    model = replace(experiment.model, network=network, image_side=side, uses_metadata=uses_metadata)
    experiment = replace(experiment, model=model)
    torch.manual_seed(0)
    classifier = build_classifier(model, len(DIAGNOSES))
    if classifier.metadata_encoder is not None:  # whose last layer is zero before training
        *_, last = classifier.metadata_encoder.layers
        torch.nn.init.normal_(last.get_parameter("weight"))
    write_checkpoint(
        directory,
        [classifier.state_dict()],
        experiment=experiment,
        calibration=Calibration(
            temperature=1.5,
            decision_threshold=0.1,
            out_of_distribution_threshold=-1.0 if bank is None else 0.01,
            out_of_distribution_score="energy" if bank is None else "distance",
            appearance_threshold=None if bank is None else 20.0,
            num_validation_images=100,
            num_validation_melanomas=20,
        ),
        origin=DataOrigin(
            fingerprint=fingerprint,
            is_synthetic=True,
            diagnoses=DIAGNOSES,
            image=ImageConfig(side=side),
            known_images=KNOWN.empty_table() if known is None else known,
            bank=bank,
        ),
    )
    return directory
