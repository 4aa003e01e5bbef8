"""What decides a result, as frozen values: an ``Experiment`` decides the weights, ``PrepareConfig`` the data.

Every field has its meaning and unit under it, which is also its help text, and its range in its type, where it is
checked once. The command line and the search space are made from these classes, under the same dotted names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from melanoma_ray.errors import ConfigError
from melanoma_ray.ranges import Range, check_ranges

Aspect = Literal["crop", "pad", "squash"]
SAMPLING_EXPONENTS = {"uniform": 0.0, "sqrt": -0.5, "balanced": -1.0}
"""Exponent of n: an image is sampled in proportion to n to this power, where n images have its diagnosis."""


def _require(condition: bool, name: str, value: object, allowed: str) -> None:  # noqa: FBT001
    if not condition:
        msg = f"{name}={value!r}: expected {allowed}"
        raise ConfigError(msg)


@dataclass(frozen=True, kw_only=True, slots=True)
class ImageConfig:
    """How an encoded image becomes the square crop that is stored."""

    side: Annotated[int, Range(32, 2048)] = 256
    """Width and height of the stored crop, pixels, in [32, 2048]; no network sees finer detail than this."""
    aspect: Aspect = "crop"
    """How an oblong image is made square. crop: its centre is cut out; pad: black bars are added;
    squash: it is stretched (as by the Keras loader of the notebook that this project began with)."""
    crop_border: bool = False
    """Cut off the dark surroundings of a microscope's round field of view before the image is made square."""
    max_bytes: Annotated[int, Range(1)] = 64 * 1024 * 1024
    """Largest size of an encoded image, bytes, 1 or more; a larger one is quarantined unread."""
    max_pixels: Annotated[int, Range(1)] = 100_000_000
    """Largest width × height, pixels, 1 or more; a larger image is quarantined before anything is decoded."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "image.")


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitConfig:
    """How images are assigned to the train, val and test splits."""

    method: Literal["grouped", "random", "all-test"] = "grouped"
    """grouped: images of one lesion, patient or content stay together, stratified by diagnosis;
    random: image by image, as in the notebook that this project began with, for comparison only;
    all-test: all images are the test split, whatever split is given: a collection for evaluation alone."""
    val_fraction: Annotated[float, Range(above=0, below=1)] = 0.15
    """Share of the kept images that forms the val split, in (0, 1)."""
    test_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """Share of the kept images that forms the test split, in [0, 1)."""
    num_folds: int = 0
    """Number of folds of cross-validation over all images outside the test split, 2 to 20; 0: no folds.
    With folds, val_fraction isn't used: the val split is fold 0, or the one that a training run chooses."""
    seed: Annotated[int, Range(0)] = 0
    """Seed of the random assignment, 0 or more."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "split.")
        total = self.val_fraction + self.test_fraction
        _require(total < 1, "split.val_fraction + split.test_fraction", total, "less than 1, to leave a train split")
        folds = self.num_folds
        _require(folds == 0 or 2 <= folds <= 20, "split.num_folds", folds, "0 (none), or 2 to 20")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """Everything that decides a prepared dataset, given the images."""

    image: ImageConfig = field(default_factory=ImageConfig)
    split: SplitConfig = field(default_factory=SplitConfig)
    duplicates: Literal["drop", "keep"] = "drop"
    """What is done with identical images.
    drop: one copy is kept, or none if their diagnoses differ and no metadata table resolves which one is true;
    keep: all are kept, as in the notebook that this project began with (a leak under a random split)."""
    near_duplicates: Literal["group", "ignore"] = "group"
    """What is done with near-duplicates: images resized, compressed again, turned, mirrored or cropped a little.
    group: they stay on one side of the split, and count as copies where their diagnoses differ;
    ignore: they aren't looked for."""
    max_quarantined_fraction: Annotated[float, Range(0, 1)] = 0.1
    """Largest share of all images that may be unreadable, in [0, 1]; a larger share ends the job."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The network and its input."""

    network: str = "baseline"
    """Name of the network: ``baseline``, the TensorFlow tutorial's CNN, or any model of timm."""
    pretrained: bool = False
    """Start from ImageNet weights; not available for ``baseline``."""
    image_side: Annotated[int, Range(32, 2048)] = 180
    """Width and height of the network's input, pixels, in [32, 2048]."""
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Dropout probability before the last layer, in [0, 1)."""
    num_frozen_stages: Annotated[int, Range(0)] = 0
    """Number of first stages whose pretrained weights stay as they are, 0 or more; 0: all stages are trained."""
    num_views: Literal[1, 2, 4, 8] = 1
    """Number of flips and turns of an image over which logits are averaged in inference (test-time augmentation)."""
    uses_metadata: bool = False
    """Also use age, sex and site from the metadata tables; each of them may be missing."""
    compile: bool = False
    """Train with kernels fused by torch.compile: minutes of compilation, then faster steps on most GPUs."""

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
    """Random changes to a training image, drawn from its seed in the sampling plan; mixing is drawn by the worker."""

    horizontal_flip: bool = True
    """Mirror left and right with probability one half."""
    vertical_flip: bool = True
    """Mirror top and bottom with probability one half, because a lesion has no natural orientation."""
    max_rotation_degrees: Annotated[float, Range(0, 180)] = 180.0
    """Largest rotation, degrees, in [0, 180]; the angle is uniform between minus and plus this."""
    max_zoom_fraction: Annotated[float, Range(0, below=1)] = 0.1
    """Largest relative change of the visible window's side, in [0, 1): it is scaled by 1 ± this."""
    min_crop_fraction: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Smallest share of the image's area that a random crop shows, in (0, 1]; its aspect ratio is 3:4 to 4:3."""
    max_brightness_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """Largest relative change of brightness, in [0, 1): all channels are scaled by 1 ± this."""
    max_contrast_fraction: Annotated[float, Range(0, below=1)] = 0.15
    """Largest relative change of contrast, in [0, 1): distances to the image's mean are scaled by 1 ± this."""
    max_colour_fraction: Annotated[float, Range(0, below=1)] = 0.08
    """Largest relative change of white balance, in [0, 1): each channel is scaled by its own 1 ± this."""
    hair_probability: Annotated[float, Range(0, 1)] = 0.0
    """Probability that one to eight dark hairs are drawn across the image, in [0, 1]."""
    max_cutout_fraction: Annotated[float, Range(0, below=1)] = 0.0
    """Largest side of an erased square as a share of the image's side, in [0, 1); drawn uniformly from 0 to this."""
    hidden_metadata_fraction: Annotated[float, Range(0, 1)] = 0.3
    """Share of training images whose age, sex and site are hidden, in [0, 1], so that the network can do without them;
    unused without model.uses_metadata."""
    mixup_alpha: Annotated[float, Range(0)] = 0.0
    """Parameter α of the Beta(α, α) distribution of an image's weight in a blend of two (MixUp), 0 or more; 0: none."""
    cutmix_alpha: Annotated[float, Range(0)] = 0.0
    """Parameter α of the Beta(α, α) distribution of the share of an image that a square of another leaves uncovered,
    0 or more; 0: no such squares (CutMix). Where both alphas are set, a coin decides for each batch."""

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
    """Exponent γ of focal loss, which multiplies cross-entropy by (1 - p)^γ (arXiv:1708.02002), 0 or more;
    0: plain cross-entropy."""
    label_smoothing: Annotated[float, Range(0, below=1)] = 0.0
    """Share of the target probability that is spread evenly over all diagnoses, in [0, 1)."""
    logit_adjustment: Annotated[float, Range(0)] = 0.0
    """Factor of the logarithm of a diagnosis's share of the images shown, added to its logit in training, 0 or more.
    With 1 the network predicts as if all diagnoses were equally frequent (arXiv:2007.07314),
    and its probabilities of rare diagnoses are those of such a collection."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "loss.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with linear warm-up, then cosine decay to zero or a constant rate."""

    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    """Peak learning rate, reached at the end of warm-up; more than 0."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Course of the learning rate after warm-up: cosine decay to zero, or constant."""
    warmup_fraction: Annotated[float, Range(0, below=1)] = 0.05
    """Share of all optimizer steps that is warm-up, in [0, 1)."""
    weight_decay: Annotated[float, Range(0)] = 0.0
    """Weight decay of matrices and filters, not of biases and norms; 0 or more."""
    layer_decay: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Factor of the learning rate from each layer to the one before it (timm's layers), in (0, 1]; 1: one rate."""
    max_gradient_norm: Annotated[float, Range(above=0)] = 5.0
    """Norm to which larger gradients are scaled down; more than 0."""
    ema_decay: Annotated[float | None, Range(above=0, below=1)] = None
    """Decay per step of the moving average of the weights that is evaluated and kept, in (0, 1); none: no average."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self, "optimizer.")


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionConfig:
    """How the thresholds are chosen, on the validation split and nowhere else."""

    target_sensitivity: Annotated[float, Range(above=0, greatest=1)] = 0.9
    """Smallest share of the validation melanomas that must be referred, in (0, 1]."""
    assessable_quantile: Annotated[float, Range(above=0.5, below=1)] = 0.995
    """Share of the validation images that must count as assessable, in (0.5, 1)."""
    set_coverage: Annotated[float, Range(above=0, below=1)] = 0.9
    """Share of the images of each diagnosis whose prediction set shall hold it, in (0, 1)."""
    refer_for: Literal["melanoma", "malignancy"] = "melanoma"
    """What the threshold is for: melanoma, or any malignant diagnosis. A model without a class melanoma is for
    malignancy in either case."""
    diagnosis_by: Literal["balanced", "calibrated"] = "balanced"
    """How the predicted diagnosis is chosen: balanced, by the network's own logits, which after a logit-adjusted loss
    weigh a rare diagnosis like a frequent one; or calibrated, the diagnosis with the highest probability."""

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
    """Number of passes over the train split, 1 or more."""
    initial_side_fraction: Annotated[float, Range(above=0, greatest=1)] = 1.0
    """Side of the input in the first epoch as a share of model.image_side, in (0, 1].
    It grows evenly and reaches the whole side for the last quarter of the epochs (progressive resizing)."""
    patience_epochs: Annotated[int | None, Range(1)] = None
    """Number of epochs without a better validation balanced accuracy after which training ends, 1 or more;
    none: all epochs are trained."""
    sampling: Literal["uniform", "sqrt", "balanced"] = "uniform"
    """How often an image is shown in an epoch, which always has the same number of images. uniform: once;
    sqrt, balanced: in proportion to 1/√n or 1/n, where n training images have its diagnosis."""
    global_batch_size: Annotated[int, Range(1)] = 32
    """Number of images of an optimizer step, over all workers, 1 or more; a multiple of the number of workers."""
    num_accumulations: Annotated[int, Range(1)] = 1
    """Number of parts in which a worker processes its share of a batch, to save memory, 1 or more."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Precision of the forward and backward pass; auto: bf16 where the hardware multiplies in it, else fp32."""
    seed: Annotated[int, Range(0)] = 0
    """Seed of initial weights, order of images, augmentation and dropout, 0 or more."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)
        share = self.initial_side_fraction
        parts, batch = self.num_accumulations, self.global_batch_size
        _require(batch % parts == 0, "num_accumulations", parts, f"a divisor of the batch of {batch}")
        if self.model.network == "baseline":
            _require(share == 1, "initial_side_fraction", share, "1 with model.network='baseline', of one input side")
