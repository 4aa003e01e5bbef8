"""Samples of more than eight bits: the range that they really have is what is shown, or the image is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.imaging.depth import to_eight_bits
from tests.unit.imaging.files import (
    Order,
    difference,
    draw_grey,
    draw_picture,
    encode,
    encode_with_opencv,
    exif_of,
    turn,
    write_tiff,
)

CONFIG = ImageConfig(side=64)
GREY, COLOUR = draw_grey(), draw_picture()
ALPHA = np.full((*GREY.shape, 1), 65535, np.uint16)


def decode(encoded: bytes) -> np.ndarray:
    return decode_image(encoded, CONFIG).whole


def in_bits(pixels: np.ndarray, bits: int) -> np.ndarray:
    return np.asarray(pixels.astype(np.uint32) * (2**bits - 1) // 255, np.uint16)


def check_shows(encoded: bytes, pixels: np.ndarray, allowed: float = 1) -> None:
    expected = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    assert difference(decode(encoded), expected) < allowed


def check_is_refused(encoded: bytes, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode(encoded)
    assert caught.value.fault == "unknown_range"
    assert words in caught.value.detail


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("ending", [".png", ".tiff", ".jp2"])
def test_a_sixteen_bit_file_shows_the_bits_that_it_uses(ending: str, bits: int) -> None:
    check_shows(encode_with_opencv(in_bits(GREY, bits), ending), GREY)
    check_shows(encode_with_opencv(in_bits(COLOUR, bits), ending), COLOUR)


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_alpha_of_sixteen_bits_hides_no_darker_colours(bits: int) -> None:
    samples = np.concatenate([in_bits(COLOUR, bits), ALPHA], axis=2)
    check_shows(encode_with_opencv(samples, ".png"), COLOUR)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("bits", [10, 12, 14])
def test_packed_bits_are_stated_and_unpacked(order: Order, bits: int) -> None:
    check_shows(write_tiff(in_bits(GREY, bits), order=order, packed_bits=bits), GREY)
    check_shows(write_tiff(in_bits(COLOUR, bits), order=order, packed_bits=bits), COLOUR)


def test_a_stated_depth_comes_before_the_rule() -> None:
    dark = GREY // 8
    check_shows(write_tiff(in_bits(dark, 12), packed_bits=12), dark)
    white_is_4095 = {341: (3, [4095]), 340: (3, [0])}
    check_shows(write_tiff(in_bits(dark, 12), tags=white_is_4095), dark)
    check_shows(b"P5 128 96 4095\n" + in_bits(dark, 12).astype(">u2").tobytes(), dark)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u2", "i2", "u4", "i4"])
def test_integers_of_every_kind_are_read(order: Order, kind: str) -> None:
    check_shows(write_tiff(in_bits(GREY, 12).astype(kind), order=order), GREY)


def test_signed_integers_without_negative_ones_fill_their_half() -> None:
    check_shows(write_tiff(in_bits(GREY, 15).astype(np.int16)), GREY)
    check_shows(write_tiff((GREY // 2).astype(np.int8)), GREY)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("white", [1, 255, 4095, 65535])
def test_floats_are_read_by_the_range_that_they_fill(order: Order, kind: str, white: float) -> None:
    check_shows(write_tiff((GREY / 255 * white).astype(kind), order=order), GREY)
    check_shows(write_tiff((COLOUR / 255 * white).astype(kind), order=order), COLOUR)


def test_a_little_overshoot_of_resampling_is_cut_off() -> None:
    check_shows(write_tiff((GREY / 255 * 1.1 - 0.05).astype(np.float32)), (GREY * 1.1 - 12.75).clip(0, 255))
    overshot = in_bits(GREY, 12)
    overshot[0, 0] = 4150
    check_shows(write_tiff(overshot), GREY)


@pytest.mark.parametrize("kind", ["u2", "f4", "f8"])
def test_white_is_zero_where_the_file_says_so(kind: str) -> None:
    samples = (in_bits(255 - GREY, 12) if kind == "u2" else (255 - GREY) / 255).astype(kind)
    check_shows(write_tiff(samples, photometric=0), GREY)


def test_a_stated_range_of_negative_samples_is_used() -> None:
    samples = GREY.astype(np.int16) * 10 - 1000
    check_is_refused(write_tiff(samples), "-1000")
    check_shows(write_tiff(samples.astype(np.float32), tags={340: (11, [-1000.0]), 341: (11, [1550.0])}), GREY)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (GREY.astype(np.int16) - 100, "from -100"),
        ((GREY - 128).astype(np.int8), "from -"),
        (GREY / np.float32(20), "to 12.75"),
        (GREY / np.float32(255 * 20), "to 0.05"),
        (GREY.astype(np.float32) * 1e6, "to 2.55e+08"),
        (np.where(GREY > 200, np.nan, GREY / 255).astype(np.float32), "not a number"),
        (np.where(GREY > 200, np.inf, GREY / 255).astype(np.float64), "not a number"),
        (GREY.astype(np.uint16) // 32, "to 7"),
        (GREY.astype(np.uint32) * 1000, "to 255000"),
    ],
)
def test_samples_of_no_known_range_are_refused_with_their_extremes(samples: np.ndarray, words: str) -> None:
    check_is_refused(write_tiff(samples), words)


def test_a_mask_of_two_values_is_black_and_white_and_black_stays_black() -> None:
    mask = (GREY > 128).astype(np.uint16)
    check_shows(encode_with_opencv(mask, ".png"), mask * 255)
    check_shows(encode_with_opencv(mask * 0, ".png"), mask * 0)
    check_shows(write_tiff(mask.astype(np.float32)), mask * 255)


def test_a_dark_picture_of_eight_bits_stays_as_dark() -> None:
    for kind in ("PNG", "TIFF", "JPEG2000"):
        np.testing.assert_array_equal(decode(encode(COLOUR // 8, kind)), COLOUR // 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_deep_picture_is_turned_upright_as_any_other(orientation: int) -> None:
    stored = turn(COLOUR, orientation)
    oriented = {274: (3, [orientation])}
    check_shows(write_tiff(in_bits(stored, 12), tags=oriented), COLOUR)
    check_shows(write_tiff(stored.astype(np.float32) / 255, tags=oriented), COLOUR)
    check_shows(write_tiff(in_bits(stored[:, :, 1], 12), tags=oriented), GREY)
    check_shows(encode(in_bits(stored[:, :, 1], 12), "PNG", exif=exif_of(orientation)), GREY)


@given(st.integers(8, 16), st.floats(0.3, 1))
def test_a_brightest_sample_in_the_upper_part_decides_the_depth(bits: int, brightest: float) -> None:
    """Depths between 8 and 16 that no camera has count as the next one, and are darker by less than half."""
    samples = np.linspace(0, brightest * (2**bits - 1), 1000).astype(np.uint16)
    found = to_eight_bits(samples)
    assert found.min() == 0
    assert found.max() >= 255 * 0.25 - 1
    assert (np.diff(found.astype(int)) >= 0).all()
