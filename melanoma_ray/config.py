"""What decides a result, as frozen values: an ``Experiment`` decides the weights, ``PrepareConfig`` the data.

Every field has its unit under it and its range checked once, here. The command line and the
search space are made from these classes, under the same dotted names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges

Aspect = Literal["crop", "pad", "squash"]
SAMPLING_EXPONENTS = {"uniform": 0.0, "sqrt": -0.5, "balanced": -1.0}
"""An image of a diagnosis of n training images is shown in proportion to n to this power."""


def _require(condition: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001
    if not condition:
        msg = f"{name}={value!r}: expected {allowed}"
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """From encoded bytes to the stored square of pixels."""

    side: Annotated[int, Range(32, 2048)] = 256
    """Stored width and height, pixels, in [32, 2048]; no network sees finer detail than this."""
    aspect: Aspect = "crop"
    """crop: the centred square; pad: black bars; squash: stretch (as the seed's Keras loader does)."""
    crop_border: bool = False
    """Cut off the dark surroundings of a microscope's round field of view before that."""
    max_bytes: Annotated[int, Range(1)] = 64 * 1024 * 1024
    """Largest encoded image, bytes; a larger one is quarantined unread."""
    max_pixels: Annotated[int, Range(1)] = 100_000_000
    """Largest width × height, pixels; a larger one is quarantined before anything is decoded."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "image.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """Who goes to train, val and test."""

    method: Literal["grouped", "random"] = "grouped"
    """grouped: images of one lesion, patient or content stay together, stratified by diagnosis;
    random: image by image, as the seed did, for comparison only."""
    val_fraction: Annotated[float, Range(above=0, below=1)] = 0.15
    """Of all kept images, in (0, 1)."""
    test_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """Of all kept images, in [0, 1)."""
    num_folds: int = 0
    """Of cross-validation over all but the test split, 2 to 20; 0: none. Fold 0 is the val split then, unless
    training is told another, and val_fraction isn't used."""
    seed: Annotated[int, Range(0)] = 0
    """Of the assignment."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "split.")
        total = self.val_fraction + self.test_fraction
        _require(total < 1, "split.val_fraction + split.test_fraction", total, "less than 1, to leave a train split")
        folds = self.num_folds
        _require(folds == 0 or 2 <= folds <= 20, "split.num_folds", folds, "0 (none), or 2 to 20")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """What decides a prepared dataset, given the images."""

    image: ImageConfig = field(default_factory=ImageConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    duplicates: Literal["drop", "keep"] = "drop"
    """drop: one copy of identical images stays, under the diagnosis that a table settles, and none where no table
    knows which of their diagnoses is true; keep: all stay, as in the seed (a leak under a random split)."""
    near_duplicates: Literal["group", "ignore"] = "group"
    """group: pictures that look the same (resized, re-compressed, turned, mirrored, cropped a little) stay on one
    side of the split, and count as copies where their diagnoses differ; ignore: they aren't looked for."""
    max_quarantined_fraction: Annotated[float, Range(0, 1)] = 0.1
    """Of all images, in [0, 1]; a larger share of unreadable ones ends the job."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network."""

    network: str = "baseline"
    """``baseline``, the TensorFlow tutorial's CNN, or any name that timm knows."""
    pretrained: bool = False
    """Start from ImageNet weights; not for ``baseline``."""
    image_side: Annotated[int, Range(32, 2048)] = 180
    """Width and height of the network's input, pixels, in [32, 2048]."""
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Before the last layer, in [0, 1)."""
    num_frozen_stages: Annotated[int, Range(0)] = 0
    """First stages that keep their weights, with pretrained weights only; 0 trains all."""
    num_views: Literal[1, 2, 4, 8] = 1
    """Flips and turns of an image whose logits are averaged when it is judged (test-time augmentation)."""
    uses_metadata: bool = False
    """Also hear what the metadata tables say of age, sex and site; what they don't say may be missing."""
    compile: bool = False
    """Train with kernels that torch.compile fuses: minutes of preparation, then faster steps on most GPUs."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "model.")
        if self.network == "baseline":
            _require(not self.pretrained, "model.pretrained", self.pretrained, "False with network='baseline'")
        if not self.pretrained:
            frozen = self.num_frozen_stages
            _require(frozen == 0, "model.num_frozen_stages", frozen, "0 without pretrained weights")


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """Random changes to a training image, drawn from its own seed in the plan; a step's mixtures by the worker."""

    horizontal_flip: bool = True
    """With probability one half."""
    vertical_flip: bool = True
    """With probability one half; a lesion has no up."""
    max_rotation_degrees: Annotated[float, Range(0, 180)] = 180.0
    """Uniform between minus and plus this, degrees, in [0, 180]."""
    max_zoom_fraction: Annotated[float, Range(0, below=1)] = 0.1
    """Side of the visible square is scaled by 1 ± this, in [0, 1)."""
    min_crop_fraction: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Of the image's area: a window of this share or more, anywhere, of sides up to 4:3, is what is seen; in (0, 1]."""
    max_brightness_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """All channels are scaled by 1 ± this, in [0, 1)."""
    max_contrast_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """Distance to the image's mean is scaled by 1 ± this, in [0, 1)."""
    max_colour_fraction: Annotated[float, Range(0, below=1)] = 0.08
    """Each channel is scaled by 1 ± this on its own (white balance), in [0, 1)."""
    hair_probability: Annotated[float, Range(0, 1)] = 0.0
    """That one to eight dark hairs are drawn across the image, in [0, 1]."""
    max_cutout_fraction: Annotated[float, Range(0, below=1)] = 0.0
    """Of the image's side: that of an erased square, uniform from 0 to this, in [0, 1)."""
    hidden_metadata_fraction: Annotated[float, Range(0, 1)] = 0.3
    """Share of training images whose age, sex and site are hidden, so that the network learns to do without;
    in [0, 1]. Without model.uses_metadata it means nothing."""
    mixup_alpha: Annotated[float, Range(0)] = 0.0
    """Of the Beta(α, α) distribution that weighs an image against another one of its batch; 0: none are mixed."""
    cutmix_alpha: Annotated[float, Range(0)] = 0.0
    """As mixup_alpha, for a square of the other image in place of a blend; where both are set, a coin decides."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "augmentation.")


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Cross-entropy over the diagnoses."""

    class_weighting: Literal["none", "sqrt", "balanced", "effective"] = "none"
    """Weight of a diagnosis of n training images: 1, 1/√n, 1/n, or one over its effective number of images,
    (1 - β)/(1 - βⁿ) with β = 0.999 (arXiv:1901.05555); scaled to a mean of 1 per image."""
    focal_gamma: Annotated[float, Range(0)] = 0.0
    """Of focal loss, which multiplies by (1 - p)^γ (arXiv:1708.02002); 0: cross-entropy."""
    label_smoothing: Annotated[float, Range(0, below=1)] = 0.0
    """In [0, 1)."""
    logit_adjustment: Annotated[float, Range(0)] = 0.0
    """Times the logarithm of a diagnosis's share of the images shown, added to its logit while training: with 1 the
    network answers as if all diagnoses were equally frequent (arXiv:2007.07314), and its probabilities of rare ones
    are those of such a collection; 0 or more."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "loss.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with linear warm-up, then cosine decay to zero or a constant rate."""

    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    """Peak, reached at the end of warm-up; more than 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """After warm-up."""
    warmup_fraction: Annotated[float, Range(0, below=1)] = 0.05
    """Of all optimizer steps, in [0, 1)."""
    weight_decay: Annotated[float, Range(0)] = 0.0
    """Of matrices and filters, not of biases and norms; 0 or more."""
    layer_decay: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Of the learning rate from each layer to the one before it (timm's layers), in (0, 1]; 1: one rate for all."""
    max_gradient_norm: Annotated[float, Range(above=0)] = 5.0
    """Longer gradients are scaled down to this length; more than 0."""
    ema_decay: Annotated[float | None, Range(above=0, below=1)] = None
    """Of the moving average of the weights that is evaluated and kept, in (0, 1); none: the weights themselves."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "optimizer.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionConfig:
    """How the thresholds are chosen, on the validation split and nowhere else."""

    target_sensitivity: Annotated[float, Range(above=0, greatest=1)] = 0.9
    """Least share of the validation melanomas that must be referred, in (0, 1]."""
    assessable_quantile: Annotated[float, Range(above=0.5, below=1)] = 0.995
    """Share of validation images that must count as assessable, in (0.5, 1)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "decision.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Experiment:
    """Everything that decides the weights, given the prepared data. It is saved in every checkpoint."""

    model: ModelConfig = field(default_factory=ModelConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    num_epochs: Annotated[int, Range(1)] = 20
    """Passes over the train split, 1 or more."""
    initial_side_fraction: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Of model.image_side: the input's side in the first epoch; it grows evenly to the whole in the last quarter
    of the epochs (progressive resizing); in (0, 1]."""
    patience_epochs: Annotated[int | None, Range(1)] = None
    """Training ends when validation balanced accuracy hasn't grown for so many epochs; none: it runs to its end."""
    sampling: Literal["uniform", "sqrt", "balanced"] = "uniform"
    """How often an image is seen in an epoch: once; or rare diagnoses more often, by 1/√n or 1/n of their images.
    An epoch shows as many images either way."""
    global_batch_size: Annotated[int, Range(1)] = 32
    """Images an optimizer step, over all workers; a multiple of the number of workers."""
    num_accumulations: Annotated[int, Range(1)] = 1
    """Parts in which a worker takes its share of a batch, to save memory; gradients are added up."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the forward and backward pass; auto: bf16 where the hardware multiplies in it, else fp32."""
    seed: Annotated[int, Range(0)] = 0
    """Of initial weights, order of images, augmentation and dropout."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        share = self.initial_side_fraction
        parts, batch = self.num_accumulations, self.global_batch_size
        _require(batch % parts == 0, "num_accumulations", parts, f"a divisor of the batch of {batch}")
        if self.model.network == "baseline":
            _require(share == 1, "initial_side_fraction", share, "1 with model.network='baseline', of one input side")
