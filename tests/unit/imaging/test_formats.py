"""Every format that is said to be read is read, at its first frame, and within the limits."""

from __future__ import annotations

import resource
import struct
from typing import Any

import numpy as np
import pytest
from PIL import Image

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import READABLE_ENDINGS, decode_image
from melanoma_ray.imaging.dicom import DICOM_ENDINGS
from tests.unit.imaging.files import difference, draw_picture, encode, encode_image, write_tiff

CONFIG = ImageConfig(side=64)
SMALL = ImageConfig(side=64, max_pixels=10_000)
PICTURE, OTHER = draw_picture(seed=1), draw_picture(seed=2)
OPTIONS: dict[str, dict[str, Any]] = {"JPEG": {"quality": 95}, "WEBP": {"quality": 95}, "AVIF": {"quality": 95}}


def endings_of(kind: str) -> set[str]:
    Image.init()
    return {ending for ending, found in Image.registered_extensions().items() if found == kind}


@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM"]
)
def test_each_format_shows_its_picture(kind: str) -> None:
    found = decode_image(encode(PICTURE, kind, **OPTIONS.get(kind, {})), CONFIG)
    assert (found.width, found.height) == (128, 96)
    assert difference(found.pixels, decode_image(encode(PICTURE, "PNG"), CONFIG).pixels) < 5


def test_the_endings_are_those_of_the_formats() -> None:
    kinds = ("JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM")
    sequences = {".apng", ".avifs", ".heics", ".heifs", ".pfm", ".j2c"}
    assert READABLE_ENDINGS - sequences - DICOM_ENDINGS == set.union(*map(endings_of, kinds)) - sequences


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF", "HEIF", "MPO"])
def test_of_several_frames_the_first_is_shown(kind: str) -> None:
    encoded = encode(PICTURE, kind, save_all=True, append_images=[Image.fromarray(OTHER)])
    found = decode_image(encoded, CONFIG).pixels
    first, second = (decode_image(encode(one, "PNG"), CONFIG).pixels for one in (PICTURE, OTHER))
    assert difference(found, first) < 8
    assert difference(found, second) > 20


def test_of_a_heif_the_primary_image_is_shown() -> None:
    encoded = encode(PICTURE, "HEIF", save_all=True, append_images=[Image.fromarray(OTHER)], primary_index=1)
    assert difference(decode_image(encoded, CONFIG).pixels, decode_image(encode(OTHER, "PNG"), CONFIG).pixels) < 5


def check_is_too_large(encoded: bytes, config: ImageConfig = SMALL) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_image(encoded, config)
    assert caught.value.fault == "too_many_pixels"


@pytest.mark.parametrize(
    "kind", ["JPEG", "MPO", "PNG", "TIFF", "WEBP", "BMP", "DIB", "GIF", "JPEG2000", "AVIF", "HEIF", "PPM"]
)
def test_the_limits_of_size_hold_in_each_format(kind: str) -> None:
    check_is_too_large(encode(PICTURE, kind))
    with pytest.raises(DecodeError, match="too_few_pixels"):
        decode_image(encode(np.ascontiguousarray(PICTURE[:4]), kind), CONFIG)
    with pytest.raises(DecodeError, match="too_many_bytes"):
        decode_image(encode(PICTURE, kind), ImageConfig(side=64, max_bytes=300))


def test_the_limits_of_size_hold_for_unusual_samples_and_for_tiles() -> None:
    check_is_too_large(write_tiff(PICTURE.astype(np.float64)))
    tiles = {322: (4, [60_000]), 323: (4, [60_000]), 324: (4, [8]), 325: (4, [100])}
    check_is_too_large(write_tiff(PICTURE, tags=tiles), CONFIG)
    check_is_too_large(write_tiff(PICTURE.astype(np.float64), tags=tiles), CONFIG)


def with_size(encoded: bytes, after: bytes, offset: int, layout: str, side: int) -> bytes:
    """Write another size into a header: wherever the format has it behind some bytes."""
    changed = bytearray(encoded)
    place = changed.find(after)
    while place >= 0:
        struct.pack_into(layout, changed, place + offset, side, side)
        place = changed.find(after, place + 1)
    return bytes(changed)


BOMBS = {
    "GIF, a frame larger than its canvas": with_size(encode(PICTURE, "GIF"), b",\0\0\0\0", 5, "<HH", 60_000),
    "PNG": with_size(encode(PICTURE, "PNG"), b"IHDR", 4, ">II", 60_000),
    "BMP": with_size(encode(PICTURE, "BMP"), b"BM", 18, "<ii", 60_000),
    "JPEG": with_size(encode(PICTURE), b"\xff\xc0", 5, ">HH", 60_000),
    "HEIF": with_size(encode(PICTURE, "HEIF"), b"ispe", 8, ">II", 60_000),
    "AVIF": with_size(encode(PICTURE, "AVIF"), b"ispe", 8, ">II", 60_000),
    "JPEG 2000": with_size(encode(PICTURE, "JPEG2000"), b"ihdr", 4, ">II", 60_000),
    "JPEG 2000, of its codestream": with_size(encode(PICTURE, "JPEG2000"), b"\xff\x4f\xff\x51", 8, ">II", 60_000),
    "HEIF of more than it states": with_size(
        encode_image(Image.new("RGB", (4096, 4096)), "HEIF"), b"ispe", 8, ">II", 64
    ),
    "JPEG 2000 of more than it states": with_size(
        encode_image(Image.new("RGB", (2048, 2048)), "JPEG2000"), b"ihdr", 4, ">II", 64
    ),
    "PPM": b"P6 60000 60000 255\n" + bytes(1000),
}


@pytest.mark.parametrize("encoded", BOMBS.values(), ids=BOMBS)
def test_a_header_that_lies_about_the_size_allocates_nothing(encoded: bytes) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError, match=r"too_many_pixels|unreadable|truncated"):
        decode_image(encoded, CONFIG)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 1024  # KiB
