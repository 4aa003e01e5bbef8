"""Augmentation: what each setting does to a picture, and that a seed decides all of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from melanoma_ray.config import AugmentationConfig
from melanoma_ray.imaging.augmentation import augment
from melanoma_ray.imaging.decoding import resize

STILL = AugmentationConfig(
    horizontal_flip=False,
    vertical_flip=False,
    max_rotation_degrees=0,
    max_zoom_fraction=0,
    max_brightness_fraction=0,
    max_contrast_fraction=0,
    max_colour_fraction=0,
)


def draw_crop(side: int = 48) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([rows * 5, columns * 5, (rows + columns) * 2], axis=2).astype(np.uint8)


def test_no_augmentation_leaves_the_image_as_it_is() -> None:
    np.testing.assert_array_equal(augment(draw_crop(), STILL, seed=1, image_side=48), draw_crop())


def test_flips_alone_give_the_four_mirror_images() -> None:
    config = replace(STILL, horizontal_flip=True, vertical_flip=True)
    found = {augment(draw_crop(), config, seed=seed, image_side=48).tobytes() for seed in range(40)}
    image = draw_crop()
    assert found == {view.tobytes() for view in (image, image[::-1], image[:, ::-1], image[::-1, ::-1])}


def test_augmented_pixels_depend_on_the_seed_alone() -> None:
    config = AugmentationConfig()
    first = augment(draw_crop(), config, seed=7, image_side=40)
    np.testing.assert_array_equal(first, augment(draw_crop(), config, seed=7, image_side=40))
    assert (first != augment(draw_crop(), config, seed=8, image_side=40)).any()


def test_warping_to_another_side_agrees_with_resizing() -> None:
    warped = augment(draw_crop(96), STILL, seed=0, image_side=48)
    assert np.abs(warped.astype(int) - resize(draw_crop(96), 48, 48).astype(int)).mean() < 4


def test_a_window_shows_at_least_its_share() -> None:
    config = replace(STILL, min_crop_fraction=0.25)
    rows, columns = np.mgrid[0:128, 0:128].astype(np.uint8)
    image = np.stack([rows, columns, columns], axis=2)
    shares = []
    for seed in range(200):
        seen = augment(image, config, seed=seed, image_side=64)
        height, width = (float(np.ptp(seen[..., channel])) / 127 for channel in (0, 1))
        shares.append(height * width)
        assert 1 / 1.4 < height / width < 1.4 or max(height, width) > 0.97
    assert 0.18 < min(shares) < 0.3
    assert max(shares) > 0.85


def test_hairs_are_dark_thin_and_drawn_as_often_as_asked() -> None:
    image = np.full((120, 120, 3), 200, np.uint8)
    config = replace(STILL, hair_probability=0.3)
    seen = [augment(image, config, seed=seed, image_side=120) for seed in range(300)]
    haired = [one for one in seen if (one < 150).any()]
    assert 60 < len(haired) < 120
    assert all((one < 150).all(axis=2).mean() < 0.2 for one in haired)


def test_cutout_erases_a_square_of_at_most_its_share() -> None:
    image = draw_crop(120)
    config = replace(STILL, max_cutout_fraction=0.5)
    for seed in range(50):
        changed = (augment(image, config, seed=seed, image_side=120) != image).any(axis=2)
        rows, columns = changed.any(axis=1).sum(), changed.any(axis=0).sum()
        assert max(rows, columns) <= 61
    assert any((augment(image, config, seed=seed, image_side=120) != image).any() for seed in range(5))


@pytest.mark.parametrize(
    "config",
    [AugmentationConfig(), AugmentationConfig(min_crop_fraction=0.5, hair_probability=1, max_cutout_fraction=0.5)],
)
def test_the_stored_crop_stays_as_it_was(config: AugmentationConfig) -> None:
    image = draw_crop()
    for seed in range(5):
        augment(image, config, seed=seed, image_side=48)
    np.testing.assert_array_equal(image, draw_crop())
