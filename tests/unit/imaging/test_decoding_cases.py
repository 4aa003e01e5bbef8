"""Files that people really have, of one picture: each is read as it looks, or refused with a reason of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from melanoma_ray.config import ImageConfig
from melanoma_ray.errors import DecodeError
from melanoma_ray.imaging.decoding import DecodedImage, decode_image

FOLDER = Path(__file__).parents[3].parent / "shared" / "cases" / "data" / "decoding"
CONFIG = ImageConfig(side=32)
LUMA = np.array([0.299, 0.587, 0.114])
COLOUR, GREY, GREEN, FIRST_FRAME = "in colour", "in grey", "its green channel", "the first of its frames"
READ = {
    "00_ref.png": COLOUR,
    "01_progressive.jpg": COLOUR,
    "02_cmyk.jpg": COLOUR,
    "03_grey.jpg": GREY,
    "04_exif2.jpg": COLOUR,
    "04_exif3.jpg": COLOUR,
    "04_exif4.jpg": COLOUR,
    "04_exif5.jpg": COLOUR,
    "04_exif6.jpg": COLOUR,
    "04_exif7.jpg": COLOUR,
    "04_exif8.jpg": COLOUR,
    "05_exif6.png": COLOUR,
    "05_exif6.webp": COLOUR,
    "06_exif6_behind_70k.jpg": COLOUR,
    "07_grey16.png": GREY,
    "08_grey12in16.png": GREY,
    "09_rgb16.png": COLOUR,
    "10_rgb16.tif": COLOUR,
    "11_float01.tif": GREEN,
    "12_rgba.png": COLOUR,
    "13_palette.png": COLOUR,
    "14_bw.tif": GREY,
    "15_gif_in.jpg": COLOUR,
    "16_png_in.jpg": COLOUR,
    "17_anim.webp": FIRST_FRAME,
    "18_multi.tif": FIRST_FRAME,
    "19_apng.png": FIRST_FRAME,
    "21_no_eoi.jpg": COLOUR,
    "23_trailing_garbage.jpg": COLOUR,
    "24_extraneous_before_eoi.jpg": COLOUR,
    "30_mpo.jpg": COLOUR,
    "31_midflip.jpg": COLOUR,
    "34_icc.jpg": COLOUR,
    "35_rgb_jpeg.jpg": COLOUR,
    "36_jp2_in.jpg": COLOUR,
    "37_avif_in.jpg": COLOUR,
    "39_la.png": GREY,
    "40_lab.tif": COLOUR,
    "41_cmyk.tif": COLOUR,
    "42_arith_na.bmp": COLOUR,
}
"""How each file shows the picture of the first one. All pixels of 24 are there, and those of 31 but for a trace."""
REFUSED = {
    "20_trunc_half.jpg": ("truncated", "before its last pixels"),
    "22_trunc_last_1pct.jpg": ("truncated", "before its last pixels"),
    "25_leading_newline.jpg": ("unreadable", "2 bytes before its start"),
    "26_html_in.jpg": ("not_an_image", "web page"),
    "27_lfs_pointer.jpg": ("not_an_image", "git lfs pull"),
    "28_empty.jpg": ("empty", "no bytes"),
    "29_base64.jpg": ("not_an_image", "base64"),
    "32_trunc.png": ("truncated", "truncated"),
    "33_badcrc.png": ("unreadable", "broken"),
    "38_heic_in.jpg": ("unreadable", "HEIC"),
}
"""Fault of each other file, and words of its sentence."""

pytestmark = pytest.mark.skipif(
    not FOLDER.is_dir(), reason="the cases aren't beside the project: ../shared/cases; drawn pictures are tested"
)


def decode_case(name: str) -> DecodedImage:
    return decode_image((FOLDER / name).read_bytes(), CONFIG)


def test_every_case_has_an_expected_outcome() -> None:
    assert {path.name for path in FOLDER.iterdir()} == READ.keys() | REFUSED.keys()


@pytest.mark.parametrize(("name", "how"), READ.items())
def test_a_file_shows_the_reference_picture_upright(name: str, how: str) -> None:
    image, reference = decode_case(name), decode_case("00_ref.png").pixels.astype(float)
    found = image.pixels.astype(float)
    expected, allowed = {
        COLOUR: (reference, 1),
        GREY: (np.repeat((reference @ LUMA)[:, :, None], 3, axis=2), 3),
        GREEN: (np.repeat(reference[:, :, 1:2], 3, axis=2), 1),
        FIRST_FRAME: (reference, 10),  # they are smaller, and resampled otherwise; the second frames differ by 38
    }[how]
    assert image.width == image.height == (64 if how == FIRST_FRAME else 256)
    assert np.abs(found - expected).mean() < allowed  # a picture turned or mirrored differs by 13 or more


@pytest.mark.parametrize(("name", "fault", "words"), [(name, *why) for name, why in REFUSED.items()])
def test_a_file_that_shows_no_whole_picture_is_refused_with_its_own_reason(name: str, fault: str, words: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_case(name)
    assert caught.value.fault == fault
    assert words in caught.value.detail
