"""Only the lesion tells the diagnosis: not the skin, the light or the corners."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.synthetic.plan import draw_lesion


@pytest.mark.parametrize("view_seed", range(6))
def test_skin_and_photograph_do_not_depend_on_the_diagnosis(view_seed: int) -> None:
    """Where no lesion was painted, drawings of the same seeds agree: same skin, hairs, ruler, rim and light."""
    drawings = np.stack([draw_lesion(diagnosis=name, lesion_seed=5, view_seed=view_seed) for name in DIAGNOSES])
    agree = np.ptp(drawings.astype(int), axis=0).max(axis=-1) <= 2
    some_pair = np.abs(drawings[4].astype(int) - drawings[8]).max(axis=-1) <= 2
    assert agree.mean() > 0.05
    assert some_pair.mean() > 0.4


def balanced_accuracy_of_nearest_centroid(features: np.ndarray, labels: np.ndarray) -> float:
    """Fit on the even rows, test on the odd ones, features scaled to unit variance."""
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    train, test = slice(0, None, 2), slice(1, None, 2)
    centroids = np.stack([features[train][labels[train] == label].mean(axis=0) for label in range(len(DIAGNOSES))])
    found = np.linalg.norm(features[test][:, None] - centroids, axis=-1).argmin(axis=1)
    return float(np.mean([np.mean(found[labels[test] == label] == label) for label in range(len(DIAGNOSES))]))


def colour_and_texture(pixels: np.ndarray) -> np.ndarray:
    lab = cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB).astype(np.float32)
    middle, rim = lab[30:82, 45:105], np.concatenate((lab[:, :15], lab[:, -15:]), axis=1)
    detail = cv2.Laplacian(lab[..., 0], cv2.CV_32F)[30:82, 45:105]
    contrast = middle.mean(axis=(0, 1)) - rim.mean(axis=(0, 1))
    return np.concatenate((contrast, middle.std(axis=(0, 1)), [np.abs(detail).mean()]))


def corners(pixels: np.ndarray) -> np.ndarray:
    ends = (slice(6), slice(-6, None))
    patches = np.concatenate([pixels[rows, columns] for rows in ends for columns in ends])
    return np.concatenate((patches.mean(axis=(0, 1)), patches.std(axis=(0, 1))))


def test_simple_features_of_the_lesion_tell_the_diagnosis_but_the_corners_do_not() -> None:
    """Chance is 1/9. Corners are skin, light and rim: what a shortcut would be learned from."""
    names = DIAGNOSES * 40
    drawings = [
        draw_lesion(diagnosis=name, lesion_seed=900 + i, view_seed=9000 + i, width=150, height=112)
        for i, name in enumerate(names)
    ]
    labels = np.array([DIAGNOSES.index(name) for name in names])
    of_lesion = balanced_accuracy_of_nearest_centroid(np.stack([colour_and_texture(p) for p in drawings]), labels)
    of_corners = balanced_accuracy_of_nearest_centroid(np.stack([corners(p) for p in drawings]), labels)
    assert 0.3 < of_lesion < 0.95
    assert of_corners < 0.22
