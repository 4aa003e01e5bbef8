"""Random changes of a training image, a pure function of its pixels and its seed.

Geometry is one affine warp straight to the network's side and colour one look-up table, both on
uint8: about a quarter of a millisecond for 180×180 pixels.
"""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from melanoma_ray.config import AugmentationConfig

_MAX_ASPECT = 4 / 3
"""Of a random crop: its sides differ by this factor at most, as in Inception's (arXiv:1409.4842)."""
_MAX_HAIRS = 8
_FRACTION_BITS = 4
"""Of the coordinates of a hair, which is drawn to a sixteenth of a pixel."""


def augment(
    pixels: UInt8[np.ndarray, "side side 3"], config: AugmentationConfig, *, seed: int, image_side: int
) -> UInt8[np.ndarray, "image_side image_side 3"]:
    """Crop, flip, turn, zoom, recolour and cover; what leaves the frame is mirrored in.

    Args:
        pixels: The stored square, RGB.
        config: Which changes, and how strong.
        seed: Decides every draw: the same seed gives the same pixels, on any worker.
        image_side: Of the network's input, pixels.
    """
    random = np.random.Generator(np.random.Philox(key=seed))
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
    """Return the affine map from stored to augmented pixel coordinates."""
    flip_x, flip_y, turn, zoom = place
    area, aspect, x, y = crop
    radians = np.deg2rad(config.max_rotation_degrees) * (2 * turn - 1)
    share = np.sqrt(config.min_crop_fraction + (1 - config.min_crop_fraction) * area)
    stretch = _MAX_ASPECT ** ((2 * aspect - 1) / 2) if config.min_crop_fraction < 1 else 1.0
    window = np.minimum(1.0, [share * stretch, share / stretch])
    scale = image_side / side / (1 + config.max_zoom_fraction * (2 * zoom - 1)) / window
    mirror_x = -scale[0] if config.horizontal_flip and flip_x < 0.5 else scale[0]
    mirror_y = -scale[1] if config.vertical_flip and flip_y < 0.5 else scale[1]
    cosine, sine = np.cos(radians), np.sin(radians)
    linear = np.array([[cosine * mirror_x, -sine * mirror_y], [sine * mirror_x, cosine * mirror_y]])
    centre = (side - 1) / 2 + (1 - window) * side * (np.array([x, y]) - 0.5)
    shift = (image_side - 1) / 2 - linear @ centre
    return np.column_stack([linear, shift])


def _build_colour_table(
    colour: Float[np.ndarray, " 5"], config: AugmentationConfig, pixels: UInt8[np.ndarray, "side side 3"]
) -> UInt8[np.ndarray, "256 1 3"] | None:
    """Return one look-up table a channel, or nothing where the settings change no colour."""
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
    """Lay dark, slightly bent hairs across the image, in place."""
    side = pixels.shape[0]
    steps = np.linspace(0, 1, 12)[:, None]
    for _ in range(int(random.integers(1, _MAX_HAIRS + 1))):
        start, bend, end = random.random((3, 2)) * side
        curve = (1 - steps) ** 2 * start + 2 * steps * (1 - steps) * bend + steps**2 * end
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
