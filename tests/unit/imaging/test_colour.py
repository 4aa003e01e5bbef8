"""Colours of every kind look as a person would see them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.colour import to_srgb
from melanoma_ray.imaging.decoding import decode_image
from tests.unit.imaging.files import (
    difference,
    draw_picture,
    encode,
    encode_image,
    grey_profile,
    matrix_profile,
    write_tiff,
)

CONFIG = ImageConfig(side=64)
PICTURE = draw_picture(96, 128, seed=3)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
WIDE = matrix_profile([(0.64, 0.33), (0.21, 0.71), (0.15, 0.06)], gamma=2.2)
"""The primaries and the gamma of Adobe RGB."""
LIKE_SRGB = SRGB.tobytes()


def decode(encoded: bytes) -> np.ndarray:
    return decode_image(encoded, CONFIG).whole


def grey_of(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).convert("L").convert("RGB"))


def in_wide_colours(pixels: np.ndarray) -> np.ndarray:
    """Encode as a camera that is set to Adobe RGB does."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(WIDE))
    transform = ImageCms.ImageCmsTransform(SRGB, profile, "RGB", "RGB", ImageCms.Intent.RELATIVE_COLORIMETRIC)
    return np.asarray(transform.apply(Image.fromarray(pixels)))


def test_alpha_is_ignored_in_every_format() -> None:
    alpha = np.linspace(1, 255, PICTURE[:, :, :1].size).reshape(PICTURE[:, :, :1].shape).astype(np.uint8)
    seen = np.concatenate([PICTURE, alpha], axis=2)
    for kind in ("PNG", "TIFF", "JPEG2000"):
        assert difference(decode(encode(seen, kind)), PICTURE) == 0
    assert difference(decode(encode(seen, "WEBP", lossless=True)), PICTURE) == 0
    grey = np.ascontiguousarray(seen[:, :, [0, 3]])
    assert difference(decode(encode_image(Image.fromarray(grey, "LA"), "PNG")), seen[:, :, [0, 0, 0]]) == 0


def test_a_transparent_colour_of_a_palette_or_of_grey_is_shown() -> None:
    palette = Image.fromarray(PICTURE).quantize(64)
    expected = np.asarray(palette.convert("RGB"))
    for kind in ("PNG", "GIF"):
        np.testing.assert_array_equal(decode(encode_image(palette, kind, transparency=5)), expected)
    np.testing.assert_array_equal(decode(encode_image(palette, "PNG", transparency=bytes(range(64)))), expected)
    grey = Image.fromarray(PICTURE).convert("L")
    np.testing.assert_array_equal(decode(encode_image(grey, "PNG", transparency=100)), grey_of(PICTURE))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_reach_from_black_to_white(bits: int) -> None:
    levels = np.round(PICTURE[:, :, 0] / 255 * (2**bits - 1)).astype(np.uint8)
    expected = np.repeat((levels.astype(int) * 255 // (2**bits - 1))[:, :, None], 3, axis=2)
    packed = write_tiff(levels, packed_bits=bits)
    inverted = write_tiff(2**bits - 1 - levels, packed_bits=bits, photometric=0)
    assert difference(decode(packed), expected) == 0
    assert difference(decode(inverted), expected) == 0


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_eight_bits_is_read_in_either_byte_order(order: str) -> None:
    assert difference(decode(write_tiff(PICTURE, order=">" if order == ">" else "<")), PICTURE) == 0


@pytest.mark.parametrize("options", [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg", "quality": 95}])
@pytest.mark.parametrize("mode", ["YCbCr", "CMYK", "LAB"])
def test_other_colour_spaces_of_tiff_become_srgb(mode: str, options: dict[str, Any]) -> None:
    lab = ImageCms.ImageCmsTransform(
        SRGB, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "RGB", "LAB", ImageCms.Intent.PERCEPTUAL
    )
    image = Image.fromarray(PICTURE)
    stored = lab.apply(image) if mode == "LAB" else image.convert(mode)
    stored.info.clear()
    assert difference(decode(encode_image(stored, "TIFF", **options)), PICTURE) < 3


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_a_profile_of_wider_colours_is_applied(kind: str) -> None:
    stored = in_wide_colours(PICTURE)
    assert difference(stored, PICTURE) > 5
    options: dict[str, Any] = {} if kind in {"PNG", "TIFF"} else {"quality": 97}
    plain = encode(PICTURE, kind, **options)
    assert difference(decode(encode(stored, kind, icc_profile=WIDE, **options)), decode(plain)) < 3


def test_a_profile_of_srgb_changes_no_bit() -> None:
    for kind in ("JPEG", "PNG"):
        plain, tagged = encode(PICTURE, kind), encode(PICTURE, kind, icc_profile=LIKE_SRGB)
        np.testing.assert_array_equal(decode(tagged), decode(plain))


def test_a_damaged_or_unfitting_profile_is_ignored() -> None:
    for profile in (b"no profile", WIDE[:300], WIDE[:128] + bytes(300), grey_profile(1.0), bytes(5 * 1024 * 1024)):
        np.testing.assert_array_equal(decode(encode(PICTURE, "TIFF", icc_profile=profile)), PICTURE)
        assert to_srgb(Image.fromarray(PICTURE), profile).tobytes() == PICTURE.tobytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_grey_picture_is_shown_by_its_own_curve(kind: str) -> None:
    linear = grey_profile(1.0)
    stored = np.ascontiguousarray(PICTURE[:, :, 0])
    brighter = decode(encode(stored, kind, icc_profile=linear)).mean()
    light = (stored / 255) ** (1 / 2.4) * 1.055 - 0.055
    assert brighter == pytest.approx(255 * light.clip(0, 1).mean(), abs=3)
    assert decode(encode(stored, kind)).mean() == pytest.approx(stored.mean(), abs=1)
