"""Any colours to sRGB, as a person would see them: palettes, grey, alpha, CMYK, Lab, and embedded ICC profiles.

Alpha is ignored, premultiplied alpha undone: what an export marks as transparent is skin that was photographed,
and a page's white in its place would be one more colour of lesion to the network.

An ICC profile is applied (relative colorimetric, with black point compensation, as browsers do) where it says
something else than sRGB. A picture in Adobe RGB or a telephone's Display P3 is paler without it: by 8 and 5 of 255
for the drawn lesions of the tests. A profile within two levels of sRGB changes nothing, to the bit; a damaged one, or
one for another kind of colours, is ignored. None of the 8,225 images of the nine-class ISIC set and the part of
HAM10000 that were looked at has a profile.
"""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageCms

from melanoma_ray.imaging.depth import deep_pixels
from melanoma_ray.imaging.orientation import METADATA_ERRORS

_MAX_PROFILE_BYTES = 4 * 1024 * 1024
"""A larger profile is ignored: a press's tables have one or two million bytes."""
_NEARLY_SRGB = 2
"""Levels, of 255: less is rounding."""
_SPACES = {"RGB": "RGB ", "L": "GRAY", "CMYK": "CMYK"}
"""The profile's word for the colours of a mode."""
_GREY_MODES = frozenset({"1", "L", "LA", "La"})


def to_rgb(image: Image.Image, encoded: bytes) -> UInt8[np.ndarray, "height width 3"]:
    """Return a loaded image's colours, not turned.

    Args:
        image: Opened from ``encoded`` by Pillow, at its first frame.
        encoded: For a second look at samples of which Pillow keeps eight bits only.

    Raises:
        DecodeError: ``unknown_range``.
    """
    eight_bits = deep_pixels(image, encoded)
    flat = _flatten(image) if eight_bits is None else Image.fromarray(eight_bits)
    return np.asarray(to_srgb(flat, image.info.get("icc_profile")))


def to_srgb(flat: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image of mode L, RGB or CMYK by its ICC profile, or plainly where that has nothing to say."""
    usable = isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE_BYTES
    transform = _build_transform(profile, flat.mode) if profile and usable else None
    if transform is not None:
        return transform.apply(flat)
    return flat if flat.mode == "RGB" else flat.convert("RGB")


def _flatten(image: Image.Image) -> Image.Image:
    """Return the image in mode L, RGB or CMYK, without alpha."""
    if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
        return ImageChops.invert(image)  # Pillow takes every CMYK JPEG for one of Adobe's, which are inverted
    if image.mode in _GREY_MODES:
        return (image.convert("LA") if image.mode == "La" else image).convert("L")
    return image if image.mode in _SPACES else image.convert("RGB")


@lru_cache(maxsize=16)
def _build_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return the way from a profile to sRGB, or nothing where it isn't needed or can't be gone."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space != _SPACES[mode]:
            return None
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
        samples = _sample_colours(mode)
        found, plain = (np.asarray(one, np.int16) for one in (transform.apply(samples), samples.convert("RGB")))
    except (*METADATA_ERRORS, ImageCms.PyCMSError):
        return None
    return transform if np.abs(found - plain).max() > _NEARLY_SRGB else None


def _sample_colours(mode: str) -> Image.Image:
    """Return all greys, or a grid of colours."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    num_bands = len(mode)
    levels = np.linspace(0, 255, 9 if num_bands == 3 else 5).astype(np.uint8)
    grid = np.stack(np.meshgrid(*[levels] * num_bands), axis=-1).reshape(1, -1, num_bands)
    return Image.fromarray(np.ascontiguousarray(grid), mode)
