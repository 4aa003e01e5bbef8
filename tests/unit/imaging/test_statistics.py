"""The figures that decoding takes of an image."""

from __future__ import annotations

import numpy as np
import pytest

from melanoma_ray.imaging.statistics import measure
from tests.unit.imaging.drawings import SKIN, microscope


def test_means_and_corners_are_what_they_are_called() -> None:
    found = measure(microscope(120))
    assert found.corner_brightness < 0.05
    assert found.red > found.green > found.blue
    assert measure(np.full((50, 50, 3), SKIN, np.uint8)).corner_brightness == pytest.approx(1, abs=0.02)


def test_lighter_skin_has_the_larger_angle_and_a_black_image_none() -> None:
    light, dark = (np.full((60, 60, 3), colour, np.uint8) for colour in ((235, 200, 180), (110, 75, 55)))
    light_degrees, dark_degrees = measure(light).ita_degrees, measure(dark).ita_degrees
    assert light_degrees is not None
    assert light_degrees > 40
    assert dark_degrees is not None
    assert dark_degrees < 10
    assert measure(np.zeros((60, 60, 3), np.uint8)).ita_degrees is None
