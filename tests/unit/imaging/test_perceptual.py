"""What a picture looks like: its hash, its thumbnail, and when two of them are alike."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.perceptual import HASH_BYTES, build_thumbnail, perceptual_hash, similarity
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


def test_thumbnails_are_asked_for_once_and_only_of_candidates(
    pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 2)
    everything = [*pictures, *pictures[:5]]
    hashes = np.frombuffer(b"".join(map(perceptual_hash, everything)), np.uint64).reshape(-1, 4)
    asked: list[list[int]] = []

    def load(images: np.ndarray) -> np.ndarray:
        asked.append(images.tolist())
        return thumbnails_of([everything[image] for image in images])

    found = near_duplicates.find_near_duplicates(hashes, load)
    assert found.pairs.tolist() == [[number, 18 + number] for number in range(5)]
    assert asked == [[0, 1, 2, 3, 4, 18, 19, 20, 21, 22]]
