"""Warnings about an image's quality."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.pictures import damage, draw_others
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.quality import measure_quality
from melanoma_ray.synthetic.plan import draw_lesion


@pytest.fixture(scope="module")
def lesions() -> np.ndarray:
    drawn = [
        draw_lesion(diagnosis=name, lesion_seed=seed, view_seed=seed, width=180, height=180)
        for name in DIAGNOSES
        for seed in range(4)
    ]
    return np.stack(drawn)


def count(crops: np.ndarray, warning: str) -> int:
    return sum(warning in measure_quality(crop).warnings for crop in crops)


@pytest.mark.parametrize(
    ("kind", "warning"), [("blurred (σ 1/16 of the side)", "blurred"), ("dark (15 % of the light)", "too dark")]
)
def test_damage_is_warned_of_and_its_lack_is_not(lesions: np.ndarray, kind: str, warning: str) -> None:
    assert count(damage(kind, lesions), warning) == len(lesions)
    assert count(lesions, warning) <= 1


def test_where_nothing_stands_out_there_is_no_lesion_and_none_is_cut_off() -> None:
    for kind in ("white", "black", "one colour"):
        for picture in draw_others(kind, 5, 180):
            found = measure_quality(picture)
            assert "no lesion in view" in found.warnings
            assert "lesion cut off" not in found.warnings
    assert "too bright" in measure_quality(np.full((180, 180, 3), 255, np.uint8)).warnings


def test_a_lesion_that_reaches_beyond_the_picture_is_cut_off_and_dark_corners_are_none() -> None:
    skin = np.full((180, 180, 3), (220, 180, 160), np.uint8)
    beyond, within, corners = skin.copy(), skin.copy(), skin.copy()
    beyond[:, :120] = beyond[:100] = (90, 60, 50)
    within[60:120, 60:120] = (90, 60, 50)
    corners[:30, :30] = corners[-30:, -30:] = (10, 10, 10)
    assert "lesion cut off" in measure_quality(beyond).warnings
    assert "lesion cut off" not in measure_quality(within).warnings
    assert measure_quality(corners).cut_share == 0


def test_the_measures_hardly_depend_on_the_resolution(lesions: np.ndarray) -> None:
    for crop in lesions[:6]:
        small, large = (measure_quality(crop.repeat(times, axis=0).repeat(times, axis=1)) for times in (1, 3))
        assert abs(small.lightness - large.lightness) < 2
        assert abs(small.contrast - large.contrast) < 2
