"""Changes of crops: what they change, what they leave, and where they say that they don't apply."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.imaging.alteration import (
    cut_border,
    find_hair,
    find_lesion,
    mask_lesion,
    remove_hair,
    turn_grey,
)

SKIN, LESION, HAIR = (214, 170, 150), (110, 70, 55), (40, 30, 28)
SIDE = 180


def skin(seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, 4, (SIDE, SIDE, 3))
    return np.clip(np.array(SKIN) + noise, 0, 255).astype(np.uint8)


def with_lesion(pixels: np.ndarray, axes: tuple[int, int] = (40, 28)) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy with an elliptic lesion in its middle, and where it is."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (SIDE // 2, SIDE // 2), axes, 30, 0, 360, 1, cv2.FILLED)
    drawn = pixels.copy()
    drawn[mask > 0] = LESION
    return np.asarray(cv2.GaussianBlur(drawn, (0, 0), 1.5)), mask > 0


def with_hairs(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a copy with four dark hairs, and where they are."""
    mask = np.zeros((SIDE, SIDE), np.uint8)
    for start, end in (((5, 20), (170, 60)), ((20, 170), (80, 10)), ((100, 5), (175, 150)), ((5, 120), (150, 175))):
        cv2.line(mask, start, end, 1, 2)
    drawn = pixels.copy()
    drawn[mask > 0] = HAIR
    return drawn, mask > 0


def test_hairs_are_painted_over_with_what_is_around_them() -> None:
    bare, _ = with_lesion(skin())
    hairy, is_hair = with_hairs(bare)
    bald = remove_hair(hairy)
    assert bald is not None
    before, after = (np.abs(one[is_hair].astype(float) - bare[is_hair]).mean() for one in (hairy, bald))
    assert after < before / 4
    far = ~cv2.dilate(is_hair.astype(np.uint8), np.ones((9, 9), np.uint8)).astype(bool)
    np.testing.assert_array_equal(bald[far], hairy[far])
    assert find_hair(hairy)[is_hair].mean() > 0.8


def test_skin_and_lesions_without_hair_are_left_alone() -> None:
    for pixels in (skin(), with_lesion(skin())[0], np.full((SIDE, SIDE, 3), 128, np.uint8)):
        assert remove_hair(pixels) is None


def test_a_lesion_is_found_where_it_is_and_painted_with_skin() -> None:
    pixels, is_lesion = with_lesion(skin())
    found = find_lesion(pixels)
    assert found is not None
    assert found[is_lesion].all()  # the margin is there so that no rest of it is left
    assert found.sum() < 1.8 * is_lesion.sum()
    masked = mask_lesion(pixels)
    assert masked is not None
    assert np.abs(masked[is_lesion].astype(int) - SKIN).max() < 6
    np.testing.assert_array_equal(masked[~found], pixels[~found])


def test_dark_corners_are_no_lesion() -> None:
    pixels, _ = with_lesion(skin(), axes=(20, 20))
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    pixels[np.hypot(x, y) > SIDE * 0.6] = 5
    found = find_lesion(pixels)
    assert found is None or not found[:10, :10].any()
    corners_only = skin()
    corners_only[np.hypot(x, y) > SIDE * 0.6] = 5
    assert find_lesion(corners_only) is None


@pytest.mark.parametrize("axes", [(150, 120), (4, 3)])
def test_a_lesion_that_fills_the_picture_or_hardly_shows_is_not_found(axes: tuple[int, int]) -> None:
    assert mask_lesion(with_lesion(skin(), axes)[0]) is None


def test_bare_skin_has_no_lesion() -> None:
    assert mask_lesion(skin()) is None
    assert mask_lesion(np.full((SIDE, SIDE, 3), 200, np.uint8)) is None


def test_the_border_goes_and_the_middle_is_enlarged() -> None:
    pixels = skin()
    pixels[:10] = pixels[-10:] = pixels[:, :10] = pixels[:, -10:] = 0
    cut = cut_border(pixels)
    assert cut.shape == pixels.shape
    assert cut.min() > 100


def test_grey_has_no_colour_and_the_same_light() -> None:
    pixels, _ = with_lesion(skin())
    grey = turn_grey(pixels)
    assert (grey[..., 0] == grey[..., 1]).all()
    np.testing.assert_array_equal(grey[..., 0], cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
