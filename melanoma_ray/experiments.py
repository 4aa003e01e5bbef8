"""Named experiments: a function each, with the reasons for what it sets."""

from __future__ import annotations

from collections.abc import Callable

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
    """EfficientNet-Lite0 from ImageNet weights: the best accuracy for a CPU's time.

    A lesion has no up, so all turns and flips are free data; colour varies by microscope, so it is
    jittered, but little, since colour is also a sign. The first stages stay as they are: edges and
    colours need no relearning, and a step takes a third less time. The moving average halves the noise
    of a small validation split. Images are blended, because otherwise single ones are learnt by heart:
    on the nine-class ISIC set, where 137 images stand under two diagnoses, the same recipe without
    it had its best validation accuracy in the sixth epoch and fell from there.
    """
    return Experiment(
        model=ModelConfig(
            network="tf_efficientnet_lite0", pretrained=True, image_side=180, dropout=0.3, num_frozen_stages=3
        ),
        augmentation=AugmentationConfig(max_zoom_fraction=0.25, mixup_alpha=0.4),
        loss=LossConfig(label_smoothing=0.1),
        optimizer=OptimizerConfig(learning_rate=1e-3, warmup_fraction=0.1, weight_decay=0.02, ema_decay=0.99),
        num_epochs=12,
    )


EXPERIMENTS: dict[str, Callable[[], Experiment]] = {"baseline": baseline, "lite0": lite0}
