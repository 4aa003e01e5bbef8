"""Pictures that look the same are found, and others aren't taken for them."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.perceptual import build_thumbnail, perceptual_hash
from melanoma_ray.preparation import near_duplicates
from melanoma_ray.preparation.near_duplicates import find_candidates, find_near_duplicates
from melanoma_ray.synthetic.plan import draw_lesion


def hashes_of(pictures: list[np.ndarray]) -> np.ndarray:
    return np.frombuffer(b"".join(map(perceptual_hash, pictures)), np.uint64).reshape(-1, 4)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """One view of each of 54 drawn lesions."""
    return [
        draw_lesion(diagnosis=DIAGNOSES[seed % len(DIAGNOSES)], lesion_seed=seed, view_seed=seed) for seed in range(54)
    ]


def compress(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1))


COPIES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda p: cv2.resize(p, None, fx=1.5, fy=1.5),
    "compressed": compress,
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "turned by 90°": lambda p: np.ascontiguousarray(np.rot90(p)),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_copy_is_found_whatever_was_done_to_it(pictures: list[np.ndarray], kind: str) -> None:
    copies = [COPIES[kind](picture) for picture in pictures]
    everything = [*pictures, *copies]
    thumbnails = np.stack([build_thumbnail(picture) for picture in everything])
    found = find_near_duplicates(hashes_of(everything), lambda images: thumbnails[images])
    pairs = {tuple(pair) for pair in found.pairs}
    expected = {(i, i + len(pictures)) for i in range(len(pictures))}
    assert len(expected & pairs) >= 0.99 * len(expected)
    assert len(pairs - expected) <= 2  # a copy's blur may bring two drawn lesions together
    assert (found.similarity >= 0.8).all()


def test_a_thousand_blank_pictures_are_a_chain_not_half_a_million_pairs() -> None:
    hashes = np.repeat(np.arange(8, dtype=np.uint64).reshape(2, 4), [1000, 1], axis=0)
    pairs = find_candidates(hashes)
    assert len(pairs[pairs[:, 1] < 1000]) == 999
    assert (pairs[pairs[:, 1] < 1000][:, 0] == 0).all()


def test_random_hashes_have_no_candidates_and_near_ones_are_all_found() -> None:
    random = np.random.default_rng(0)
    hashes = random.integers(0, 2**64, (20_000, 4), np.uint64)
    copies = hashes[:500].copy()
    for bit in range(10):
        copies[:, bit % 4] ^= np.uint64(1) << random.integers(0, 64, 500, np.uint64)
    pairs = find_candidates(np.concatenate([hashes, copies]))
    expected = {(i, 20_000 + i) for i in range(500)}
    assert {tuple(pair) for pair in pairs} == expected


def test_few_pictures_have_no_pairs() -> None:
    assert find_candidates(np.empty((0, 4), np.uint64)).shape == (0, 2)
    assert find_candidates(np.ones((1, 4), np.uint64)).shape == (0, 2)


def test_thumbnails_are_asked_for_once_and_only_of_candidates(
    pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(near_duplicates, "_PAIRS_AT_ONCE", 2)
    everything = [*pictures[:18], *pictures[:5]]
    asked: list[list[int]] = []

    def load(images: np.ndarray) -> np.ndarray:
        asked.append(images.tolist())
        return np.stack([build_thumbnail(everything[image]) for image in images])

    found = near_duplicates.find_near_duplicates(hashes_of(everything), load)
    assert found.pairs.tolist() == [[number, 18 + number] for number in range(5)]
    assert asked == [[0, 1, 2, 3, 4, 18, 19, 20, 21, 22]]
