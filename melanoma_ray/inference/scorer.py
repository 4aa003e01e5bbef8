"""From crops to what the networks say: logits, and how unlike the crops are to the images of training."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, Num, Shaped, UInt8
from torch import Tensor

from melanoma_ray.config import Experiment, ModelConfig
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.inference.runtime import Runtime, TorchRuntime
from melanoma_ray.model.likeness import FeatureBank
from melanoma_ray.model.networks import Classifier, build_classifier
from melanoma_ray.patients import nothing_known


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Outputs:
    """What the networks say about images, before it is decided by."""

    logits: Float32[np.ndarray, "image diagnosis"]
    distance: Float32[np.ndarray, "image 2"] | None = None
    """Distances of each image to training images, by features and by appearance; none: there is no bank."""
    parts: Float32[np.ndarray, "image member view diagnosis"] | None = None
    """Logits of each network for each view alone; none: they weren't asked for."""
    warnings: Shaped[np.ndarray, " image"] | None = None
    """What is wrong with each image itself, a tuple of words (``imaging/quality.py``); none: it wasn't looked for."""
    appearance: Float64[np.ndarray, "image 7"] | None = None
    """How each image looks (``imaging/appearance.py``); none: it wasn't measured."""
    is_altered: Bool[np.ndarray, " image"] | None = None
    """Whether a change of the crops applied to each image; none: there was none."""
    runtime: str = ""
    """What computed the networks: program and number format (``Runtime.name``); on unlike nodes there are several."""

    def __getitem__(self, rows: Shaped[np.ndarray, " row"]) -> Outputs:
        """Return those of some images, by places or by a mask."""
        arrays = {name: getattr(self, name) for name in _ARRAYS}
        kept: dict[str, Any] = {name: None if array is None else array[rows] for name, array in arrays.items()}
        return Outputs(**kept, runtime=self.runtime)


_ARRAYS = tuple(field.name for field in fields(Outputs) if field.name != "runtime")


def join_outputs(some: Sequence[Outputs]) -> Outputs:
    """Return the outputs of one or more sets of images as one; what isn't known of all of them is none."""

    def join(name: str) -> Any:  # noqa: ANN401 - an array of whichever field
        found = [getattr(one, name) for one in some]
        return None if any(one is None for one in found) else np.concatenate(found)

    runtimes = name_runtimes([one.runtime for one in some])
    return Outputs(**{name: join(name) for name in _ARRAYS}, runtime=runtimes)


def name_runtimes(names: Iterable[str]) -> str:
    """Return what computed the networks, in one line."""
    return ", ".join(sorted(set(names)))


class Scorer:
    """One or more networks in evaluation mode, from crops to logits: the mean over views and networks.

    What computes the networks is its ``runtime``, which may be replaced: at first PyTorch in fp32.
    """

    def __init__(
        self,
        members: Sequence[Classifier],
        config: ModelConfig,
        num_diagnoses: int,
        device: torch.device,
        bank: FeatureBank | None = None,
    ) -> None:
        """Move the networks to the device.

        Args:
            members: Networks whose logits are averaged.
            config: Configuration of the networks.
            num_diagnoses: Number of their outputs.
            device: Device to score on.
            bank: Features of training images, to tell which images are unlike them; none: they aren't told apart.
        """
        self.bank = None if bank is None else bank.to(device)
        self.num_diagnoses = num_diagnoses
        self.members = tuple(member.to(device).eval() for member in members)
        self.image_side, self.num_views = config.image_side, config.num_views
        self.device = device
        self.runtime: Runtime = TorchRuntime(self.members, device)

    def score(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"] | None = None,
    ) -> Float32[np.ndarray, "image diagnosis"]:
        """Return the logits of crops, which may have any side.

        Args:
            pixels: The crops, RGB.
            metadata: Metadata from ``encode_metadata``; none: unknown for all images.
        """
        return self.answer(pixels, metadata).logits

    @torch.inference_mode()
    def answer(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"] | None = None,
        *,
        keep_parts: bool = False,
        is_alone: bool = True,
    ) -> Outputs:
        """Return the logits of crops, and their distance to the bank of features if there is one.

        Args:
            pixels: The crops, RGB; they may have any side.
            metadata: Metadata from ``encode_metadata``; none: unknown for all images.
            keep_parts: Return the logits of each network and view, too.
            is_alone: Whether no other thread asks this scorer meanwhile, so that all of its threads may work on these.
        """
        runtime, number = self.runtime, len(pixels)
        if not number:
            return self._answer_nothing(keep_parts=keep_parts)
        known = nothing_known(number) if metadata is None else metadata
        logits, distances, parts = [], [], []
        for some_pixels, some_metadata in self._split(pixels, known, runtime):
            each, features = self._score_views(some_pixels, some_metadata, runtime, is_alone=is_alone)
            logits.append(_average(each).cpu().numpy())
            if self.bank is not None:
                distances.append(self.bank.measure_distance(features).cpu().numpy())
            if keep_parts:
                parts.append(each.permute(2, 0, 1, 3).cpu().numpy())
        return Outputs(
            logits=np.concatenate(logits)[:number],
            distance=self._join_distances(np.concatenate(distances)[:number], pixels) if distances else None,
            parts=np.concatenate(parts)[:number] if parts else None,
            runtime=runtime.name,
        )

    def _answer_nothing(self, *, keep_parts: bool) -> Outputs:
        """Return the outputs of no images."""
        shape = (0, len(self.members), self.num_views, self.num_diagnoses)
        return Outputs(
            logits=np.zeros((0, self.num_diagnoses), np.float32),
            distance=None if self.bank is None else np.zeros((0, 2), np.float32),
            parts=np.zeros(shape, np.float32) if keep_parts else None,
            runtime=self.runtime.name,
        )

    def _join_distances(
        self, by_features: Float32[np.ndarray, " image"], pixels: UInt8[np.ndarray, "image side side 3"]
    ) -> Float32[np.ndarray, "image 2"]:
        assert self.bank is not None
        by_appearance = self.bank.measure_appearance(describe_appearance(pixels))
        return np.stack([by_features, by_appearance.astype(np.float32)], axis=1)

    @torch.inference_mode()
    def embed(self, pixels: UInt8[np.ndarray, "image side side 3"]) -> Float32[np.ndarray, "image member feature"]:
        """Return the features of crops in each network, of the first view alone.

        Args:
            pixels: The crops, RGB; they may have any side.
        """
        reference = TorchRuntime(self.members, self.device)
        parts = [
            torch.stack([member.embed(some_pixels)[1] for member in self.members], dim=1).cpu().numpy()
            for some_pixels, _ in self._split(pixels, nothing_known(len(pixels)), reference)
        ]
        return np.concatenate(parts)[: len(pixels)]

    def with_one_view(self) -> Scorer:
        """Return this scorer for the first view alone, without distances; the networks are shared."""
        plain = copy.copy(self)
        plain.num_views, plain.bank = 1, None
        return plain

    def _split(
        self,
        pixels: UInt8[np.ndarray, "image side side 3"],
        metadata: Float32[np.ndarray, "image feature"],
        runtime: Runtime,
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield crops and metadata of as many images as a pass has views of, on the device; the last may be padded."""
        side, number = self.image_side, len(pixels)
        size = max(1, runtime.num_pictures // self.num_views)
        padding = [np.zeros((side, side, 3), np.uint8)] * (-number % size if runtime.is_padded else 0)
        crops = torch.from_numpy(np.stack([resize(crop, side, side) for crop in pixels] + padding))
        features = torch.from_numpy(np.concatenate([metadata, nothing_known(len(padding))]))
        for some_crops, some_features in zip(torch.split(crops, size), torch.split(features, size), strict=True):
            yield some_crops.to(self.device), some_features.to(self.device)

    def _score_views(
        self, pixels: Tensor, metadata: Tensor, runtime: Runtime, *, is_alone: bool
    ) -> tuple[Float[Tensor, "member view image diagnosis"], list[Tensor]]:
        """Return each network's logits of each view, and its features of the first view."""
        pictures = pixels if self.num_views == 1 else torch.cat(list(views(pixels, self.num_views)))
        known = metadata if self.num_views == 1 else metadata.repeat(self.num_views, 1)
        logits, features = [], []
        for member in range(len(self.members)):
            parts = [
                runtime.run(member, some, some_known, is_alone=is_alone)
                for some, some_known in zip(
                    torch.split(pictures, runtime.num_pictures), torch.split(known, runtime.num_pictures), strict=True
                )
            ]
            logits.append(torch.cat([own for own, _ in parts]).view(self.num_views, len(pixels), -1))
            features.append(torch.cat([own for _, own in parts])[: len(pixels)])
        return torch.stack(logits), features


def _average(each: Float[Tensor, "member view image diagnosis"]) -> Float[Tensor, "image diagnosis"]:
    """Return the mean over views, and over networks; of one alone it is that one to the bit."""
    of_members = each[:, 0] if each.shape[1] == 1 else each.mean(dim=1)
    return of_members[0] if len(of_members) == 1 else _average_members(of_members)


def _average_members(logits: Float[Tensor, "member image diagnosis"]) -> Float[Tensor, "image diagnosis"]:
    """Return logits with the probabilities of the averaged logits and the mean energy of the members.

    Log-sum-exp is convex, so for averaged logits it is at most the mean of the members', and their energy at least
    the mean energy. With an energy threshold that was chosen on single members, too many images would be
    unassessable. A constant added to all logits of an image restores the mean energy and keeps the probabilities.
    """
    mean = logits.mean(dim=0)
    lost = logits.logsumexp(dim=-1).mean(dim=0) - mean.logsumexp(dim=-1)
    return mean + lost[:, None]


def views(
    pixels: Num[Tensor, "image side side 3"], num_views: Literal[1, 2, 4, 8]
) -> Iterator[Num[Tensor, "image side side 3"]]:
    """Yield the first views of images: themselves, mirrored left to right, top to bottom, both; then these transposed.

    Args:
        pixels: The images.
        num_views: Number of views.
    """
    for turned in (pixels, pixels.transpose(1, 2))[: 1 + (num_views == 8)]:
        for flipped in ((), (2,), (1,), (1, 2))[:num_views]:
            yield turned.flip(flipped).contiguous() if flipped else turned.contiguous()


def build_scorer(
    members: Sequence[dict[str, Tensor]],
    experiment: Experiment,
    num_diagnoses: int,
    device: str,
    bank: FeatureBank | None = None,
) -> Scorer:
    """Return a scorer of networks with given weights.

    Args:
        members: Weights of each network.
        experiment: Experiment that the networks were trained by.
        num_diagnoses: Number of their outputs.
        device: Device to score on, such as ``cpu`` or ``cuda``.
        bank: Features of training images, one table for each network; none: unlike images aren't told apart.
    """
    classifiers = []
    for weights in members:
        classifier = build_classifier(experiment.model, num_diagnoses, with_weights=False)
        classifier.load_state_dict(weights)
        classifiers.append(classifier)
    return Scorer(classifiers, experiment.model, num_diagnoses, torch.device(device), bank)
