"""The field of view, and the figures that decoding takes of an image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.config import ImageConfig
from melanoma_ray.imaging.border import find_field_of_view
from melanoma_ray.imaging.decoding import decode_image
from melanoma_ray.imaging.statistics import measure

SKIN = (225, 180, 160)


def microscope(radius: int, centre: tuple[int, int] = (200, 150)) -> np.ndarray:
    """A bright disc of skin with a dark lesion in it, on black, 400×300 pixels."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(pixels, centre, radius, SKIN, -1)
    cv2.circle(pixels, centre, radius // 5, (70, 40, 30), -1)
    return pixels


@pytest.mark.parametrize("radius", [100, 140])
def test_the_round_field_of_view_is_cut_out(radius: int) -> None:
    box = find_field_of_view(microscope(radius, (180, 150)))
    assert box is not None
    assert box.left + box.width / 2 == pytest.approx(180, abs=6)
    assert box.top + box.height / 2 == pytest.approx(150, abs=6)
    assert box.width == pytest.approx(2 * 0.93 * radius, rel=0.06)
    assert box.height == pytest.approx(2 * 0.93 * radius, rel=0.06)


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((300, 400, 3), SKIN, np.uint8),
        np.zeros((300, 400, 3), np.uint8),
        microscope(30),
        cv2.circle(np.full((300, 400, 3), SKIN, np.uint8), (0, 0), 150, (10, 10, 10), -1),
    ],
    ids=["all skin", "all black", "a small disc", "a lesion at the corner"],
)
def test_nothing_is_cut_where_there_is_no_field_of_view(pixels: np.ndarray) -> None:
    assert find_field_of_view(pixels) is None


def test_the_decoder_cuts_the_border_when_asked_and_tells_how_much() -> None:
    encoded = cv2.imencode(".jpg", cv2.cvtColor(microscope(120), cv2.COLOR_RGB2BGR))[1].tobytes()
    whole = decode_image(encoded, ImageConfig(side=64))
    cut = decode_image(encoded, ImageConfig(side=64, crop_border=True))
    assert whole.border_fraction == 0
    assert 0.4 < cut.border_fraction < 0.7
    assert (cut.pixels.max(axis=2) < 30).mean() < (whole.pixels.max(axis=2) < 30).mean() - 0.1
    assert cut.width == whole.width == 400


def test_means_and_corners_are_what_they_are_called() -> None:
    found = measure(microscope(120))
    assert found.corner_brightness < 0.05
    assert found.red > found.green > found.blue
    assert measure(np.full((50, 50, 3), SKIN, np.uint8)).corner_brightness == pytest.approx(1, abs=0.02)


def test_lighter_skin_has_the_larger_angle_and_a_black_image_none() -> None:
    light, dark = (np.full((60, 60, 3), colour, np.uint8) for colour in ((235, 200, 180), (110, 75, 55)))
    assert measure(light).ita_degrees > 40
    assert measure(dark).ita_degrees < 10
    assert measure(np.zeros((60, 60, 3), np.uint8)).ita_degrees is None
