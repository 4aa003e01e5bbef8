"""Named experiments: a function each, with the reasons for what it sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from melanoma_ray.config import (
    AugmentationConfig,
    Experiment,
    LossConfig,
    ModelConfig,
    OptimizerConfig,
)


def baseline() -> Experiment:
    """The seed: the CNN of TensorFlow's image classification tutorial, as it was trained there.

    Adam at a constant 0.001, batches of 32, 180×180 pixels, 20 epochs; horizontal flips, rotation
    and zoom by a tenth (of a turn: ±36°), dropout 0.2; no class weights, no averaging.
    https://www.tensorflow.org/tutorials/images/classification
    """
    return Experiment(
        model=ModelConfig(network="baseline", image_side=180, dropout=0.2),
        augmentation=AugmentationConfig(
            vertical_flip=False,
            max_rotation_degrees=36.0,
            max_zoom_fraction=0.1,
            max_brightness_fraction=0.0,
            max_contrast_fraction=0.0,
            max_colour_fraction=0.0,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3, schedule="constant", warmup_fraction=0.0),
        num_epochs=20,
    )


def lite0() -> Experiment:
    """EfficientNet-Lite0 from ImageNet weights, at its own 224 pixels: the best accuracy for a CPU's time.

    A lesion has no up, so all turns and flips are free data; windows of half the picture and more show
    it at other sizes; colour varies by microscope, so it is jittered, but little, since colour is also a
    sign. Some images are blended, because otherwise single ones are learnt by heart: in the nine-class
    ISIC set 137 stand under two diagnoses. The input grows from 60 % of its side, since early epochs
    learn as well from small pictures and are done in a third of the time (arXiv:2104.00298). The first
    stages stay as they are: edges and colours need no relearning. The moving average halves the noise of
    a small validation split. Batches are small, since a small collection has few steps in an epoch: with
    32 images it came to 0.673 of the nine-class set's validation images, with 16 to 0.69 and more. Many
    workers want a larger one (``--global-batch-size``).
    """
    return Experiment(
        model=ModelConfig(
            network="tf_efficientnet_lite0", pretrained=True, image_side=224, dropout=0.3, num_frozen_stages=2
        ),
        augmentation=AugmentationConfig(min_crop_fraction=0.5, max_zoom_fraction=0.0, mixup_alpha=0.2),
        loss=LossConfig(label_smoothing=0.1),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_fraction=0.1, weight_decay=0.02, ema_decay=0.99),
        initial_side_fraction=0.6,
        num_epochs=14,
        global_batch_size=16,
    )


def lite2() -> Experiment:
    """EfficientNet-Lite2 at its own 260 pixels: better than ``lite0``, for three times its work.

    One stage more is frozen, the one whose feature maps are largest: a step takes a third less time. An image is
    judged by its mean over four flips. With more to learn it learns for longer. Everything else follows ``lite0``.
    """
    small = lite0()
    model = replace(small.model, network="tf_efficientnet_lite2", image_side=260, num_frozen_stages=3, num_views=4)
    return replace(small, model=model, num_epochs=24)


def convnext() -> Experiment:
    """ConvNeXt-Tiny at 288 pixels, for GPUs: a network of the class that wins ISIC challenges.

    Weights come from timm's hub (ImageNet-12k, then 1k). A transformer-like network wants AdamW's small
    rates and layer-wise decay, since its early layers are right already; MixUp and CutMix by turns, a
    window of the image, and drawn hairs keep it from learning single images. Compiled, since minutes
    of compilation are little beside hours of training. Batches of 128: scale with the number of GPUs.
    """
    return Experiment(
        model=ModelConfig(
            network="convnext_tiny.in12k_ft_in1k",
            pretrained=True,
            image_side=288,
            dropout=0.3,
            num_views=8,
            compile=True,
        ),
        augmentation=AugmentationConfig(
            min_crop_fraction=0.5,
            max_zoom_fraction=0.0,
            hair_probability=0.2,
            max_cutout_fraction=0.4,
            mixup_alpha=0.4,
            cutmix_alpha=1.0,
        ),
        loss=LossConfig(label_smoothing=0.1),
        optimizer=OptimizerConfig(
            learning_rate=4e-4, warmup_fraction=0.1, weight_decay=0.05, layer_decay=0.8, ema_decay=0.999
        ),
        sampling="sqrt",
        num_epochs=30,
        global_batch_size=128,
    )


RECIPES: dict[str, Callable[[], Experiment]] = {
    "baseline": baseline,
    "lite0": lite0,
    "lite2": lite2,
    "convnext": convnext,
}
