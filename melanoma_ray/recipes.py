"""Recipes: named experiments, each a function whose docstring has the reasons for its settings.

The first line of each docstring is the recipe's description on the command line.
"""

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
    """The CNN of TensorFlow's image classification tutorial, trained as there: what this project began with.

    Adam at a constant 0.001, batches of 32, 180×180 pixels, 20 epochs; horizontal flips, rotation by up to a tenth
    of a turn (±36°), zoom by up to a tenth, dropout 0.2; no class weights, no moving average.
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
    """EfficientNet-Lite0 from ImageNet weights at its native 224 pixels: the best accuracy for a CPU's time.

    - Augmentation: all rotations and flips, because a lesion has no natural orientation; random crops of half the
      image or more, which show it at other sizes; colour jitter, because colour varies between microscopes, but
      little, because colour is also a diagnostic sign.
    - MixUp, because otherwise the network memorises single images: in the nine-class ISIC set 137 images are labelled
      with two diagnoses.
    - Progressive resizing from 60 % of the side, because early epochs learn as well from small images in a third of
      the time (arXiv:2104.00298).
    - The first stages stay frozen: filters for edges and colours needn't be learnt again.
    - The moving average of the weights halves the noise of a small validation split.
    - Batches are small, because a small collection has few steps in an epoch: with 32 images the accuracy on the
      nine-class set's validation images was 0.673, with 16 images 0.69 and more. With many workers use larger batches
      (``--global-batch-size``).
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
    """EfficientNet-Lite2 at its native 260 pixels: better than ``lite0``, for three times its work.

    One more stage is frozen, the one with the largest feature maps, so a step takes a third less time. In inference
    logits are averaged over four views. A larger network is trained for more epochs. All else is as in ``lite0``.
    """
    small = lite0()
    model = replace(small.model, network="tf_efficientnet_lite2", image_side=260, num_frozen_stages=3, num_views=4)
    return replace(small, model=model, num_epochs=24)


def convnext() -> Experiment:
    """ConvNeXt-Tiny at 288 pixels, for GPUs: a network of the kind that wins ISIC challenges.

    The pretrained weights are timm's (ImageNet-12k, then 1k). A transformer-like network needs small learning rates,
    and smaller ones in early layers (``layer_decay``), which are good already. MixUp and CutMix alternating at random,
    random crops, erased squares and drawn hairs keep it from memorising single images. It is compiled, because minutes
    of compilation are little compared with hours of training. Batches have 128 images; scale them with the number of
    GPUs.
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
