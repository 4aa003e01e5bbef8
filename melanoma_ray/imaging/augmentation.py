"""Augmentation: random changes of a training image, as a pure function of its pixels and its seed.

All changes of geometry are one affine warp, directly to the side of the network's input, and all changes of colour are
one look-up table, both on uint8: about a quarter of a millisecond for 180×180 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from melanoma_ray.config import AugmentationConfig

_MAX_ASPECT = 4 / 3
"""Largest ratio between the sides of a random crop, as for Inception (arXiv:1409.4842)."""
_MAX_HAIRS = 8
_FRACTION_BITS = 4
"""Number of fractional bits of a hair's coordinates, which OpenCV draws to a sixteenth of a pixel."""


def augment(
    pixels: UInt8[np.ndarray, "side side 3"], config: AugmentationConfig, *, seed: int, image_side: int
) -> UInt8[np.ndarray, "image_side image_side 3"]:
    """Return the image cropped, flipped, rotated, zoomed, recoloured and partly covered.

    Pixels from outside the image are filled by reflection at its edges.

    Args:
        pixels: The crop, RGB.
        config: Kinds and strengths of the changes.
        seed: Seed of all random numbers: the same seed gives the same pixels, on any worker.
        image_side: Width and height of the network's input, pixels.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    # Drawn in any case, so that a setting that is off doesn't change the numbers of the others.
    place, colour, crop = random.random(4), random.random(5), random.random(4)
    warp = _build_warp(place, crop, config, pixels.shape[0], image_side)
    changed = cv2.warpAffine(
        pixels, warp, (image_side, image_side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    table = _build_colour_table(colour, config, pixels)
    if table is not None:
        changed = cv2.LUT(changed, table)
    if random.random() < config.hair_probability:
        _draw_hairs(changed, random)
    if config.max_cutout_fraction:
        _erase_square(changed, random, config.max_cutout_fraction)
    return np.asarray(changed, np.uint8)


def _build_warp(
    place: Float[np.ndarray, " 4"],
    crop: Float[np.ndarray, " 4"],
    config: AugmentationConfig,
    side: int,
    image_side: int,
) -> Float[np.ndarray, "2 3"]:
    """Return the affine map from the crop's pixel coordinates to those of the augmented image.

    Args:
        place: Numbers in [0, 1) that decide the two flips, the rotation and the zoom.
        crop: Numbers in [0, 1) that decide the random crop's area, aspect ratio, x and y.
        config: Kinds and strengths of the changes.
        side: Side of the stored crop, pixels.
        image_side: Side of the augmented image, pixels.
    """
    flip_x, flip_y, turn, zoom = place
    area, aspect, x, y = crop
    radians = np.deg2rad(config.max_rotation_degrees) * (2 * turn - 1)
    share = np.sqrt(config.min_crop_fraction + (1 - config.min_crop_fraction) * area)  # of the side, not the area
    stretch = _MAX_ASPECT ** ((2 * aspect - 1) / 2) if config.min_crop_fraction < 1 else 1.0
    window = np.minimum(1.0, [share * stretch, share / stretch])  # width and height as shares of the side
    scale = image_side / side / (1 + config.max_zoom_fraction * (2 * zoom - 1)) / window
    mirror_x = -scale[0] if config.horizontal_flip and flip_x < 0.5 else scale[0]
    mirror_y = -scale[1] if config.vertical_flip and flip_y < 0.5 else scale[1]
    cosine, sine = np.cos(radians), np.sin(radians)
    linear = np.array([[cosine * mirror_x, -sine * mirror_y], [sine * mirror_x, cosine * mirror_y]])
    centre = (side - 1) / 2 + (1 - window) * side * (np.array([x, y]) - 0.5)
    shift = (image_side - 1) / 2 - linear @ centre  # maps the window's centre to the augmented image's
    return np.column_stack([linear, shift])


def _build_colour_table(
    colour: Float[np.ndarray, " 5"], config: AugmentationConfig, pixels: UInt8[np.ndarray, "side side 3"]
) -> UInt8[np.ndarray, "256 1 3"] | None:
    """Return a look-up table for each channel; none: the settings change no colours."""
    draws = 2 * colour - 1
    if not (config.max_brightness_fraction or config.max_contrast_fraction or config.max_colour_fraction):
        return None
    brightness = 1 + config.max_brightness_fraction * draws[0]
    contrast = 1 + config.max_contrast_fraction * draws[1]
    channels = 1 + config.max_colour_fraction * draws[2:]
    mean = float(pixels[::4, ::4].mean())
    levels = (np.arange(256.0) - mean) * contrast + mean
    table = levels[:, None] * (brightness * channels)
    return np.asarray(np.rint(table).clip(0, 255).astype(np.uint8)[:, None, :])


def _draw_hairs(pixels: UInt8[np.ndarray, "side side 3"], random: np.random.Generator) -> None:
    """Draw dark, slightly bent hairs across the image, in place."""
    side = pixels.shape[0]
    steps = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(random.integers(1, _MAX_HAIRS + 1))):
        start, bend, end = random.random((3, 2)) * side
        curve = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * bend + steps**2 * end  # quadratic Bézier
        colour = random.integers(10, 70, 3).tolist()
        thickness = max(1, round(side / 180 * random.uniform(0.6, 2)))
        points = np.rint(curve * 2**_FRACTION_BITS).astype(np.int32)
        cv2.polylines(
            pixels,
            [points],
            isClosed=False,
            color=colour,
            thickness=thickness,
            lineType=cv2.LINE_AA,
            shift=_FRACTION_BITS,
        )


def _erase_square(pixels: UInt8[np.ndarray, "side side 3"], random: np.random.Generator, max_fraction: float) -> None:
    """Fill a random square with the image's mean colour, in place (Cutout, arXiv:1708.04552)."""
    side = pixels.shape[0]
    half = side * max_fraction * random.random() / 2
    x, y = random.random(2) * side
    left, right, top, bottom = (
        round(float(np.clip(edge, 0, side))) for edge in (x - half, x + half, y - half, y + half)
    )
    pixels[top:bottom, left:right] = pixels[::4, ::4].mean(axis=(0, 1)).round()
