"""The field of view."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.imaging.border import find_field_of_view
from tests.unit.imaging.drawings import SKIN, microscope


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
