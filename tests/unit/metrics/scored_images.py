"""Scores and truths to judge by."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst


def bools(*values: int) -> np.ndarray:
    return np.array(values, dtype=bool)


@st.composite
def scored_images(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores with many ties (13 distinct values) and at least one image of each kind."""
    num_images = draw(st.integers(2, 30))
    score = draw(npst.arrays(np.int64, num_images, elements=st.integers(-6, 6))) / 8
    is_positive = draw(npst.arrays(np.bool_, num_images))
    is_positive[:2] = [True, False]
    return score, is_positive
