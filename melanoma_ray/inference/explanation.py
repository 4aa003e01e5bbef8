"""Which parts of an image a network goes by: Grad-CAM, or for plain transformers the rollout of their attention.

Grad-CAM (arXiv:1610.02391) is over the last feature map, for one diagnosis. A transformer without such a map tells by
its attention (rollout, arXiv:2005.00928) what it has looked at, whichever diagnosis it answers.
"""

from __future__ import annotations

import math
import threading
from typing import Any, Literal, cast

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from timm.layers.attention import Attention
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from melanoma_ray.errors import ConfigError
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.networks import Classifier, Network

Method = Literal["Grad-CAM", "attention rollout"]
_OPACITY = 0.45
"""Opacity of the map's strongest place over the image, in [0, 1]."""


def attribute(
    predictor: Predictor, pixels: UInt8[np.ndarray, "side side 3"], diagnosis: str
) -> Float32[np.ndarray, "side side"]:
    """Return how strong the evidence for a diagnosis is at each pixel, in [0, 1]; the strongest is 1.

    A plain transformer's map is the rollout of its attention, the same for all diagnoses (``name_method``).

    Args:
        predictor: The model.
        pixels: The crop, RGB.
        diagnosis: One of the model's diagnoses.

    Raises:
        ConfigError: The model doesn't have the diagnosis, or its network can't be explained either way.

    References:
        Selvaraju 2017, arXiv:1610.02391; Abnar & Zuidema 2020, arXiv:2005.00928.
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
    if _attentions(member):
        return _roll_out(member, pixels)
    network = cast("Network", member.network)
    with torch.no_grad():
        features = network.forward_features(member.normalize(pixels))
    if features.ndim != 4:
        msg = f"{type(member.network).__name__}: its features are no map, and it has no plain attention to follow"
        raise ConfigError(msg)
    leaf = features.detach().requires_grad_()
    logit = network.forward_head(leaf)[0, diagnosis]
    (gradient,) = torch.autograd.grad(logit, leaf)
    # Some of timm's networks have the channels last.
    channel, places = (3, (1, 2)) if getattr(network, "output_fmt", None) == "NHWC" else (1, (2, 3))
    weights = gradient.mean(dim=places, keepdim=True)
    return np.asarray(torch.relu((weights * leaf.detach()).sum(dim=channel))[0].cpu().numpy())


def name_method(predictor: Predictor) -> Method:
    """Return how the maps of a model are made."""
    return "attention rollout" if _attentions(predictor.scorer.members[0]) else "Grad-CAM"


def _attentions(member: Classifier) -> list[Attention]:
    """Return the attention of each block of a plain vision transformer; empty: the network is another kind."""
    blocks = getattr(member.network, "blocks", ())
    found = [getattr(block, "attn", None) for block in blocks]
    is_plain = isinstance(member.network, VisionTransformer) and all(type(one) is Attention for one in found)
    return cast("list[Attention]", found) if is_plain else []


@torch.no_grad()
def _roll_out(member: Classifier, pixels: UInt8[Tensor, "1 side side 3"]) -> Float32[np.ndarray, "row column"]:
    """Return how much of each patch's token reaches the one that is answered from, through all blocks.

    Half of each block is its attention, averaged over the heads, and half the skip connection around it.
    """
    network = cast("Any", member.network)
    seen: list[Tensor] = []
    own = threading.get_ident()  # another thread may ask the same network in the meantime

    def watch(attention: Attention, _: object, projected: Tensor) -> None:
        if threading.get_ident() == own:
            seen.append(_attention_weights(attention, projected))

    hooks = [
        one.qkv.register_forward_hook(lambda _, inputs, out, one=one: watch(one, inputs, out))
        for one in _attentions(member)
    ]
    try:
        network.forward_features(member.normalize(pixels))
    finally:
        for hook in hooks:
            hook.remove()
    number = seen[0].shape[-1]
    reach = torch.eye(number, device=seen[0].device)
    for weights in seen:
        reach = (0.5 * weights + 0.5 * torch.eye(number, device=weights.device)) @ reach
    prefix = int(network.num_prefix_tokens)
    answered_from = reach[0] if network.global_pool == "token" else reach[prefix:].mean(dim=0)
    side = math.isqrt(number - prefix)
    return np.asarray(answered_from[prefix:].reshape(side, side).cpu().numpy(), np.float32)


def _attention_weights(attention: Attention, projected: Tensor) -> Float[Tensor, "token token"]:
    """Return the attention of one block for one image, the mean over its heads, from its projections."""
    _, number, _ = projected.shape
    split = projected.reshape(1, number, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(split[0]), attention.k_norm(split[1])
    weights = (query * attention.scale) @ key.transpose(-2, -1)
    return torch.as_tensor(weights.softmax(dim=-1).mean(dim=1)[0])


def explain(
    predictor: Predictor, pixels: UInt8[np.ndarray, "side side 3"], diagnosis: str
) -> UInt8[np.ndarray, "side side 3"]:
    """Return the crop with the map of ``attribute`` laid over it, RGB."""
    strength = attribute(predictor, pixels, diagnosis)
    opacity = (_OPACITY * strength)[:, :, None]
    return np.asarray(pixels * (1 - opacity) + _colour(strength) * opacity).round().astype(np.uint8)


def paint_overlay(strength: Float32[np.ndarray, "side side"]) -> UInt8[np.ndarray, "side side 4"]:
    """Return a map of ``attribute`` as a picture to be laid over the crop, RGBA: the weaker, the more transparent."""
    opacity = (255 * _OPACITY * strength).round().astype(np.uint8)
    return np.dstack([_colour(strength), opacity])


def _colour(strength: Float32[np.ndarray, "side side"]) -> UInt8[np.ndarray, "side side 3"]:
    coloured = cv2.applyColorMap((strength * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    return np.asarray(coloured[:, :, ::-1], np.uint8)
