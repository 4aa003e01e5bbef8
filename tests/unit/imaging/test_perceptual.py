"""What a picture looks like: its hash, its thumbnail, and when two of them are alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.perceptual import HASH_BYTES, build_thumbnail, perceptual_hash, similarity, turn_hashes
from melanoma_ray.preparation import near_duplicates
from melanoma_ray.synthetic.plan import draw_lesion


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """One view of each of 18 drawn lesions."""
    return [draw_lesion(diagnosis=DIAGNOSES[seed % 9], lesion_seed=seed, view_seed=seed) for seed in range(18)]


def thumbnails_of(pictures: list[np.ndarray]) -> np.ndarray:
    return np.stack([build_thumbnail(picture) for picture in pictures])


def put_rim(picture: np.ndarray) -> np.ndarray:
    """Darken everything outside a round field of view, as some microscopes do."""
    height, width = picture.shape[:2]
    field = np.zeros((height, width), np.uint8)
    cv2.ellipse(field, (width // 2, height // 2), (width * 9 // 20, height * 11 // 20), 0, 0, 360, 1, -1)
    return picture * field[..., None]


def distance(first: np.ndarray, second: np.ndarray) -> int:
    a, b = (np.frombuffer(perceptual_hash(picture), np.uint8) for picture in (first, second))
    return int(np.bitwise_count(a ^ b).sum())


def test_a_hash_has_its_length_and_differs_in_about_half_its_bits_between_lesions(pictures: list[np.ndarray]) -> None:
    assert len(perceptual_hash(pictures[0])) == HASH_BYTES
    distances = [distance(a, b) for number, a in enumerate(pictures) for b in pictures[:number]]
    assert 110 < np.mean(distances) < 140


def test_squashing_and_darkening_leave_the_hash_nearly_alone(pictures: list[np.ndarray]) -> None:
    for picture in pictures:
        assert distance(picture, cv2.resize(picture, (180, 180), interpolation=cv2.INTER_AREA)) <= 16
        assert distance(picture, (picture * 0.8).astype(np.uint8)) <= 16


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_a_picture_cropped_a_little_closer_is_alike_from_either_side(pictures: list[np.ndarray], share: float) -> None:
    cropped = []
    for picture in pictures:
        top, left = (round(side * share / 2) for side in picture.shape[:2])
        cropped.append(picture[top:-top, left:-left])
    whole, inner = thumbnails_of(pictures), thumbnails_of(cropped)
    assert similarity(whole, inner).min() >= near_duplicates.LEAST_SIMILARITY
    assert similarity(inner, whole).min() >= near_duplicates.LEAST_SIMILARITY


def test_a_microscope_s_dark_rim_doesn_t_make_lesions_alike(pictures: list[np.ndarray]) -> None:
    rimmed = thumbnails_of([put_rim(picture) for picture in pictures])
    flat = rimmed.reshape(len(rimmed), -1).astype(float)
    assert np.median(np.corrcoef(flat)) > 0.8  # the rim is most of what these pictures show
    first, second = np.triu_indices(len(pictures), 1)
    assert similarity(rimmed[first], rimmed[second]).max() < near_duplicates.LEAST_SIMILARITY


def hashes_of(pictures: list[np.ndarray]) -> np.ndarray:
    return np.frombuffer(b"".join(map(perceptual_hash, pictures)), np.uint64).reshape(-1, 4)


def _turn(pixels: np.ndarray, turn: int) -> np.ndarray:
    pixels = pixels.transpose(1, 0, 2) if turn & 4 else pixels
    pixels = pixels[:, ::-1] if turn & 2 else pixels
    return np.ascontiguousarray(pixels[::-1] if turn & 1 else pixels)


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_picture_s_hash_is_known_from_the_hash(pictures: list[np.ndarray], turn: int) -> None:
    expected = hashes_of([_turn(picture, turn) for picture in pictures[:10]])
    found = turn_hashes(hashes_of(pictures[:10]))[turn]
    assert np.bitwise_count(expected ^ found).sum(axis=1).max() <= 4  # rounding at a coefficient of about zero


def test_a_picture_without_detail_is_like_nothing() -> None:
    flat = np.full((1, 32, 32), 90, np.uint8)
    assert similarity(flat, flat)[0] == 0
