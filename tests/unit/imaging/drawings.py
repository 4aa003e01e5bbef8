"""Pictures as a microscope gives them."""

from __future__ import annotations

import cv2
import numpy as np

SKIN = (225, 180, 160)


def microscope(radius: int, centre: tuple[int, int] = (200, 150)) -> np.ndarray:
    """A bright disc of skin with a dark lesion in it, on black, 400×300 pixels."""
    pixels = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(pixels, centre, radius, SKIN, -1)
    cv2.circle(pixels, centre, radius // 5, (70, 40, 30), -1)
    return pixels
