"""A real checkpoint with random weights, for tests that need one of the right format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import torch
from safetensors.torch import load_file, save

from melanoma_ray.config import ImageConfig
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.model.calibration import Calibration
from melanoma_ray.model.checkpoint import MANIFEST, WEIGHTS, DataOrigin, write_checkpoint
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
    decision_threshold: float = 0.1,
    temperature: float = 1.5,
    validation: pa.Table | None = None,
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
            temperature=temperature,
            decision_threshold=decision_threshold,
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
            validation=validation,
        ),
    )
    return directory


def break_weights(directory: str) -> None:
    """Make every weight of a checkpoint NaN, as a training that has diverged leaves it, with a manifest that fits."""
    folder = Path(directory)
    content = save({name: torch.full_like(one, torch.nan) for name, one in load_file(folder / WEIGHTS).items()})
    (folder / WEIGHTS).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][WEIGHTS] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))
