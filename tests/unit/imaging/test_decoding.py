"""Encoded bytes to the stored crop."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import decode_image, fit_to_square
from tests.unit.imaging.drawings import microscope

CONFIG = ImageConfig(side=64)


def picture(height: int = 96, width: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[0:height, 0:width]
    red, green = 255 * columns / width, 255 * rows / height
    return np.stack([red, green, np.full_like(red, 90)], axis=2).astype(np.uint8)


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP", "WEBP"])
def test_every_format_gives_nearly_the_jpeg_s_crop(kind: str) -> None:
    jpeg = decode_image(encode(picture(), quality=95), CONFIG)
    other = decode_image(encode(picture(), kind), CONFIG)
    assert (other.width, other.height) == (128, 96)
    assert difference(jpeg.pixels, other.pixels) < 3


def test_a_large_jpeg_is_decoded_at_a_smaller_scale_to_nearly_the_same_crop() -> None:
    pixels = picture(960, 1280)
    jpeg = decode_image(encode(pixels, quality=95), CONFIG)
    assert (jpeg.width, jpeg.height) == (1280, 960)
    assert difference(jpeg.pixels, fit_to_square(pixels, 64, "crop")) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone_as_pillow_does(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(picture(), quality=95, exif=exif)
    found = decode_image(encoded, CONFIG)
    png = encode(np.asarray(Image.open(io.BytesIO(encoded))), "PNG", exif=exif)
    expected = decode_image(png, CONFIG)
    assert (found.width, found.height) == (expected.width, expected.height)
    assert difference(found.pixels, expected.pixels) < 3


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "LA", "RGBA", "1"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert decode_image(encode(picture(), kind, mode), CONFIG).pixels.shape == (64, 64, 3)


def test_a_cmyk_jpeg_is_read() -> None:
    found = decode_image(encode(picture(), "JPEG", "CMYK", quality=95), CONFIG)
    assert difference(found.pixels, decode_image(encode(picture(), "PNG"), CONFIG).pixels) < 6


def test_sixteen_bits_keep_the_high_ones() -> None:
    deep = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    found = decode_image(encode(deep, "PNG"), CONFIG).pixels
    np.testing.assert_array_equal(found[:, :, 0], (deep >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    ("encoded", "fault"),
    [
        (b"", "empty"),
        (b"no image at all", "not_an_image"),
        (encode(picture())[:-400], "truncated"),
        (encode(picture())[:40], "truncated"),
        (encode(picture(), "PNG")[:-60], "truncated"),
        (encode(picture(4, 4), "PNG"), "too_few_pixels"),
        (encode(picture(4, 4)), "too_few_pixels"),
    ],
)
def test_a_bad_file_has_a_named_fault(encoded: bytes, fault: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_image(encoded, CONFIG)
    assert caught.value.fault == fault


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_limits_are_checked_on_the_header_before_anything_is_decoded(kind: str) -> None:
    small = ImageConfig(side=64, max_pixels=1000)
    header_only = encode(picture(), kind)[:700]
    with pytest.raises(DecodeError) as caught:
        decode_image(header_only, small)
    assert caught.value.fault == "too_many_pixels"
    with pytest.raises(DecodeError) as caught:
        decode_image(encode(picture()), ImageConfig(side=64, max_bytes=100))
    assert caught.value.fault == "too_many_bytes"


def test_equal_pixels_hash_equally_whatever_the_metadata() -> None:
    plain, commented = encode(picture()), encode(picture(), comment=b"a copy")
    assert plain != commented
    assert decode_image(plain, CONFIG).content_sha256 == decode_image(commented, CONFIG).content_sha256
    other = picture()
    other[:9, :9] = 0
    assert decode_image(encode(other), CONFIG).content_sha256 != decode_image(plain, CONFIG).content_sha256


def test_crop_takes_the_middle_pad_adds_bars_and_squash_keeps_all() -> None:
    wide = np.zeros((60, 120, 3), np.uint8)
    wide[:, 30:90] = 200
    assert (fit_to_square(wide, 60, "crop") == 200).all()
    padded = fit_to_square(wide, 60, "pad")
    assert (padded[:15] == 0).all()
    assert (padded[45:] == 0).all()
    assert padded[30, 30, 0] == 200
    squashed = fit_to_square(wide, 60, "squash")
    assert (squashed[:, :14] == 0).all()
    assert (squashed[:, 16:44] == 200).all()


def test_the_decoder_cuts_the_border_when_asked_and_tells_how_much() -> None:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(microscope(120), cv2.COLOR_RGB2BGR))[1].tobytes()
    whole = decode_image(encoded, ImageConfig(side=64))
    cut = decode_image(encoded, ImageConfig(side=64, crop_border=True))
    assert whole.border_fraction == 0
    assert 0.4 < cut.border_fraction < 0.7
    assert (cut.pixels.max(axis=2) < 30).mean() < (whole.pixels.max(axis=2) < 30).mean() - 0.1
    assert cut.width == whole.width == 400
