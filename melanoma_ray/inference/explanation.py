"""Which parts of an image are evidence for a diagnosis: Grad-CAM over the last feature map (arXiv:1610.02391)."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from melanoma_ray.errors import ConfigError
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.networks import Classifier, Network

_OPACITY = 0.45
"""Opacity of the map's strongest place over the image, in [0, 1]."""


def attribute(
    predictor: Predictor, pixels: UInt8[np.ndarray, "side side 3"], diagnosis: str
) -> Float32[np.ndarray, "side side"]:
    """Return how strong the evidence for a diagnosis is at each pixel, in [0, 1]; the strongest is 1.

    Args:
        predictor: The model.
        pixels: The crop, RGB.
        diagnosis: One of the model's diagnoses.

    Raises:
        ConfigError: The model doesn't have the diagnosis.

    References:
        Selvaraju 2017, arXiv:1610.02391.
    """
    diagnoses = predictor.manifest.diagnoses
    if diagnosis not in diagnoses:
        msg = f"diagnosis={diagnosis!r}: expected one of {', '.join(diagnoses)}"
        raise ConfigError(msg)
    scorer = predictor.scorer
    fitted = torch.from_numpy(resize(pixels, scorer.image_side, scorer.image_side))[None].to(scorer.device)
    maps = [_attribute_by(member, fitted, diagnoses.index(diagnosis)) for member in scorer.members]
    strength = np.mean(maps, axis=0)
    peak = float(strength.max())
    side = pixels.shape[0]
    scaled = strength / peak if peak > 0 else strength
    return np.asarray(cv2.resize(scaled.astype(np.float32), (side, side)), np.float32).clip(0, 1)


def _attribute_by(
    member: Classifier, pixels: UInt8[Tensor, "1 side side 3"], diagnosis: int
) -> Float32[np.ndarray, "row column"]:
    """Return the map of one network, of the size of its feature map and on any scale."""
    network = cast("Network", member.network)
    with torch.no_grad():
        features = network.forward_features(member.normalize(pixels))
    leaf = features.detach().requires_grad_()
    logit = network.forward_head(leaf)[0, diagnosis]
    (gradient,) = torch.autograd.grad(logit, leaf)
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    return np.asarray(torch.relu((weights * leaf.detach()).sum(dim=1))[0].cpu().numpy())


def explain(
    predictor: Predictor, pixels: UInt8[np.ndarray, "side side 3"], diagnosis: str
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the crop with the map of ``attribute`` laid over it, RGB."""
    strength = attribute(predictor, pixels, diagnosis)
    colours = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)[:, :, ::-1]
    opacity = (_OPACITY * strength)[:, :, None]
    return np.asarray(pixels * (1 - opacity) + colours * opacity).round().astype(np.uint8)
