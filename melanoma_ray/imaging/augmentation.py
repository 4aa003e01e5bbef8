"""Random changes of a training image, a pure function of its pixels and its seed.

Geometry is one affine warp straight to the network's side and colour one look-up table, both on
uint8: about a quarter of a millisecond for 180×180 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from melanoma_ray.config import AugmentationConfig


def augment(
    pixels: UInt8[np.ndarray, "side side 3"], config: AugmentationConfig, *, seed: int, image_side: int
) -> UInt8[np.ndarray, "image_side image_side 3"]:
    """Flip, turn, zoom and recolour; what leaves the frame is mirrored in.

    Args:
        pixels: The stored square, RGB.
        config: Which changes, and how strong.
        seed: Decides every draw: the same seed gives the same pixels, on any worker.
        image_side: Of the network's input, pixels.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    warp = _draw_warp(random, config, pixels.shape[0], image_side)
    turned = cv2.warpAffine(
        pixels, warp, (image_side, image_side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    table = _draw_colour_table(random, config, pixels)
    return np.asarray(turned if table is None else cv2.LUT(turned, table), np.uint8)


def _draw_warp(
    random: np.random.Generator, config: AugmentationConfig, side: int, image_side: int
) -> Float[np.ndarray, "2 3"]:
    """Return the affine map from stored to augmented pixel coordinates."""
    flip_x, flip_y, turn, zoom = random.random(4)
    radians = np.deg2rad(config.max_rotation_degrees) * (2 * turn - 1)
    scale = image_side / side / (1 + config.max_zoom_fraction * (2 * zoom - 1))
    mirror_x = -1.0 if config.horizontal_flip and flip_x < 0.5 else 1.0
    mirror_y = -1.0 if config.vertical_flip and flip_y < 0.5 else 1.0
    cosine, sine = scale * np.cos(radians), scale * np.sin(radians)
    linear = np.array([[cosine * mirror_x, -sine * mirror_y], [sine * mirror_x, cosine * mirror_y]])
    shift = (image_side - 1) / 2 - linear @ np.full(2, (side - 1) / 2)
    return np.column_stack([linear, shift])


def _draw_colour_table(
    random: np.random.Generator, config: AugmentationConfig, pixels: UInt8[np.ndarray, "side side 3"]
) -> UInt8[np.ndarray, "256 1 3"] | None:
    """Return one look-up table a channel, or nothing where the settings change no colour."""
    draws = 2 * random.random(5) - 1
    if not (config.max_brightness_fraction or config.max_contrast_fraction or config.max_colour_fraction):
        return None
    brightness = 1 + config.max_brightness_fraction * draws[0]
    contrast = 1 + config.max_contrast_fraction * draws[1]
    channels = 1 + config.max_colour_fraction * draws[2:]
    mean = float(pixels[::4, ::4].mean())
    levels = (np.arange(256.0) - mean) * contrast + mean
    table = levels[:, None] * (brightness * channels)
    return np.asarray(np.rint(table).clip(0, 255).astype(np.uint8)[:, None, :])
