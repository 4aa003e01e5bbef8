"""Pictures that are no lesions: none may be called routine, since nobody would look at it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from ray.train import ScalingConfig

from melanoma_ray.config import Experiment
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.training.trainer import build_run_config, train

SHAPE = (240, 320, 3)


def white() -> np.ndarray:
    return np.full(SHAPE, 255, np.uint8)


def black() -> np.ndarray:
    return np.zeros(SHAPE, np.uint8)


def noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def text() -> np.ndarray:
    picture = Image.new("RGB", (SHAPE[1], SHAPE[0]), "white")
    for line in range(10):
        ImageDraw.Draw(picture).text((10, 10 + 22 * line), "Referral letter: a lesion on the left forearm", "black")
    return np.asarray(picture)


@pytest.fixture(scope="module")
def predictor(small_experiment: Experiment, prepared: str, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    run_config = build_run_config(str(tmp_path_factory.mktemp("unlike")), "run", max_failures=0)
    scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 0.8})
    run = train(small_experiment, open_dataset(prepared), scaling=scaling, run_config=run_config)
    return Predictor.load(run.uri, "cpu")


@pytest.mark.parametrize("draw", [white, black, noise, text])
def test_a_picture_that_is_no_lesion_is_never_routine(
    predictor: Predictor, tmp_path: Path, draw: Callable[[], np.ndarray]
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(draw()).save(path)
    assert predictor.predict_file(path).decision != "routine"
    outputs = predictor.scorer.answer(predictor.decode(path.read_bytes())[None])
    assert outputs.distance is not None  # which alone would do, were the picture not referred by chance
    calibration = predictor.manifest.calibration
    by_features, by_appearance = outputs.distance[0]
    assert calibration.appearance_threshold is not None
    assert by_features > calibration.out_of_distribution_threshold or by_appearance > calibration.appearance_threshold
