"""The one way from an image to a decision, for training's last step, evaluation, batch and service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Num, UInt8
from torch import Tensor

from melanoma_ray import storage
from melanoma_ray.api import Decision
from melanoma_ray.cluster.resources import assigned_device
from melanoma_ray.config import Experiment, ImageConfig, ModelConfig
from melanoma_ray.errors import CheckpointError
from melanoma_ray.imaging.decoding import decode_image, resize
from melanoma_ray.model.calibration import calibrated_probability, energy
from melanoma_ray.model.checkpoint import MANIFEST, Manifest, find_checkpoint, read_manifest, read_weights
from melanoma_ray.model.networks import Classifier, build_classifier
from melanoma_ray.patients import nothing_known

_CHUNK = {"cpu": 1, "cuda": 32}
"""Images a forward pass, always just as many (the last pass is padded). Kernels are chosen by shape,
so this makes an image's answer the same to the bit whoever is asked about together with it; a CPU
gains next to nothing from larger passes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """One row an image."""

    probability: Float32[np.ndarray, "image diagnosis"]
    """Calibrated, in [0, 1]."""
    melanoma_probability: Float32[np.ndarray, " image"]
    """Its melanoma column; 0 for a model that knows no melanoma."""
    decision: tuple[Decision, ...]

    def __len__(self) -> int:
        return len(self.decision)


class Scorer:
    """Networks in evaluation mode: pixels to logits, the mean over views and networks, in fp32, on their device."""

    def __init__(
        self, members: Sequence[Classifier], config: ModelConfig, num_diagnoses: int, device: torch.device
    ) -> None:
        """Move to the device."""
        self.num_diagnoses = num_diagnoses
        self.members = tuple(member.to(device).eval() for member in members)
        self.image_side, self.num_views = config.image_side, config.num_views
        self.device = device

    @torch.inference_mode()
    def score(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"] | None = None,
    ) -> Float32[np.ndarray, "image diagnosis"]:
        """Return the logits of stored crops of any side.

        Args:
            pixels: The crops.
            metadata: From ``encode_metadata``; none: nothing is known of the patients.
        """
        side, number = self.image_side, len(pixels)
        if not number:
            return np.zeros((0, self.num_diagnoses), np.float32)
        known = nothing_known(number) if metadata is None else metadata
        fitted = np.stack([resize(crop, side, side) for crop in pixels])
        shard = _CHUNK.get(self.device.type, 1)
        padding = -number % shard
        crops = torch.from_numpy(np.concatenate([fitted, np.zeros((padding, side, side, 3), np.uint8)]))
        features = torch.from_numpy(np.concatenate([known, nothing_known(padding)]))
        logits = [
            self._score_views(some_crops.to(self.device), some_features.to(self.device)).cpu().numpy()
            for some_crops, some_features in zip(torch.split(crops, shard), torch.split(features, shard), strict=True)
        ]
        return np.concatenate(logits)[:number]

    def _score_views(self, pixels: Tensor, metadata: Tensor) -> Tensor:
        shown = list(views(pixels, self.num_views))
        logits = torch.stack([_mean([member(view, metadata) for view in shown]) for member in self.members])
        return logits[0] if len(logits) == 1 else _average_members(logits)


def _mean(logits: list[Tensor]) -> Tensor:
    return logits[0] if len(logits) == 1 else torch.stack(logits).mean(dim=0)


def _average_members(logits: Float[Tensor, "member image diagnosis"]) -> Float[Tensor, "image diagnosis"]:
    """Return logits with the mean's probabilities and the members' mean energy.

    The log-sum-exp of averaged logits is never above the mean of their members' (it is convex), so by the energy
    threshold, chosen on single members, too many images would be unlike those of training. A constant a row mends it.
    """
    mean = logits.mean(dim=0)
    lost = logits.logsumexp(dim=-1).mean(dim=0) - mean.logsumexp(dim=-1)
    return mean + lost[:, None]


def views(
    pixels: Num[Tensor, "image side side 3"], num_views: Literal[1, 2, 4, 8]
) -> Iterator[Num[Tensor, "image side side 3"]]:
    """Yield an image's first views: itself, mirrored left to right, top to bottom, both, then those turned by 90°."""
    for turned in (pixels, pixels.transpose(1, 2))[: 1 + (num_views == 8)]:
        for flipped in ((), (2,), (1,), (1, 2))[:num_views]:
            yield turned.flip(flipped).contiguous() if flipped else turned.contiguous()


def build_scorer(
    members: Sequence[dict[str, Tensor]], experiment: Experiment, num_diagnoses: int, device: str
) -> Scorer:
    """Build the network of an experiment once for each member's weights."""
    classifiers = []
    for weights in members:
        classifier = build_classifier(experiment.model, num_diagnoses, with_weights=False)
        classifier.load_state_dict(weights)
        classifiers.append(classifier)
    return Scorer(classifiers, experiment.model, num_diagnoses, torch.device(device))


def decide(logits: Float32[np.ndarray, "image diagnosis"], manifest: Manifest) -> Predictions:
    """Turn logits into probabilities and decisions, by the manifest's figures alone."""
    calibration = manifest.calibration
    probability = calibrated_probability(logits, calibration.temperature)
    referred = [manifest.diagnoses.index(name) for name in manifest.referred]
    melanoma = probability[:, referred[0]] if len(referred) == 1 else probability[:, referred].sum(axis=1)
    is_unlike = energy(logits) > calibration.out_of_distribution_threshold
    is_referred = melanoma >= calibration.decision_threshold
    decision = tuple(_decision(bool(r), bool(u)) for r, u in zip(is_referred, is_unlike, strict=True))
    return Predictions(probability=probability, melanoma_probability=melanoma, decision=decision)


def _decision(is_referred: bool, is_unlike: bool) -> Decision:  # noqa: FBT001
    """An image that is both is referred: of two reasons to look, the graver one is told."""
    if is_referred:
        return "refer"
    return "unassessable" if is_unlike else "routine"


class Predictor:
    """A checkpoint, ready to answer."""

    def __init__(self, manifest: Manifest, scorer: Scorer, checkpoint_id: str) -> None:
        """Use ``load``."""
        self.manifest = manifest
        self.checkpoint_id = checkpoint_id
        self.scorer = scorer

    @classmethod
    def load(cls, checkpoint: str, device: str | None = None, *, member: int | None = None) -> Predictor:
        """Read, check and build.

        Args:
            checkpoint: A checkpoint directory, a run's directory or a sweep's best.json.
            device: Such as ``cpu`` or ``cuda``; by default the one that Ray assigned, or in a script of its own
                a GPU where there is one.
            member: One of an ensemble's networks, from 0, alone; by default all.

        Raises:
            CheckpointError: Missing, damaged, of another format version, or weights that don't fit.
        """
        uri = find_checkpoint(checkpoint)
        manifest = read_manifest(uri)
        weights = read_weights(uri, manifest)
        members = weights if member is None else weights[member : member + 1]
        where = device or assigned_device()
        try:
            scorer = build_scorer(members, manifest.experiment, len(manifest.diagnoses), where)
        except RuntimeError as error:
            msg = f"checkpoint {uri}: its weights don't fit its experiment ({str(error).splitlines()[0]})"
            raise CheckpointError(msg) from error
        digest = hashlib.sha256(storage.read_bytes(storage.join(uri, MANIFEST))).hexdigest()
        return cls(manifest, scorer, digest[:12])

    def decode(self, encoded: bytes) -> UInt8[np.ndarray, "side side 3"]:
        """Return the crop that preparation would have stored.

        Raises:
            DecodeError: The bytes aren't a usable image.
        """
        return decode_image(encoded, self.image).pixels

    @property
    def image(self) -> ImageConfig:
        """How raw images become crops."""
        return self.manifest.image

    def predict(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"] | None = None,
    ) -> Predictions:
        """Return probabilities and decisions of stored crops, whose metadata may be known (``encode_metadata``)."""
        return decide(self.scorer.score(pixels, metadata), self.manifest)

    def describe(self) -> dict[str, object]:
        """Return the facts of the model as plain values, for reports and the service."""
        manifest = self.manifest
        return {
            "checkpoint_id": self.checkpoint_id,
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
