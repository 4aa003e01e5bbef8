"""Crops of noise, for networks to look at."""

from __future__ import annotations

import numpy as np


def draw_crops(number: int, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)
