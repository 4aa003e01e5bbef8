"""What ``import melanoma_ray`` offers: a promise to those who build on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import melanoma_ray
from melanoma_ray.errors import DataError
from tests.checkpoints import build_checkpoint


def test_the_public_surface_is_this() -> None:
    assert melanoma_ray.__all__ == ["Assessment", "AsyncClient", "Client", "Predictor", "__version__", "open_dataset"]
    assert set(melanoma_ray.__all__) <= set(dir(melanoma_ray))
    assert all(getattr(melanoma_ray, name) for name in melanoma_ray.__all__)
    with pytest.raises(AttributeError, match="no attribute 'predict'"):
        _ = melanoma_ray.predict


def test_importing_is_free_and_using_it_starts_no_ray() -> None:
    script = """
import sys, melanoma_ray
assert not {"torch", "ray", "numpy", "httpx"} & set(sys.modules), "import melanoma_ray loads too much"
melanoma_ray.Predictor, melanoma_ray.Client, melanoma_ray.open_dataset
assert "ray" not in sys.modules, "a predictor needs no Ray"
"""
    root = str(Path(__file__).parents[2])
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_predictor_answers_a_file_with_plain_values(tmp_path: Path) -> None:
    predictor = melanoma_ray.Predictor.load(build_checkpoint(str(tmp_path / "checkpoint")), "cpu")
    path = tmp_path / "lesion.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 100, 3), np.uint8)).save(path)
    assessment = predictor.predict_file(path)
    assert sum(assessment.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert assessment.melanoma_probability == assessment.probabilities["melanoma"]
    assert assessment.decision in {"refer", "routine", "unassessable"}
    expected = predictor.predict(predictor.decode(path.read_bytes())[None])
    assert assessment.melanoma_probability == float(expected.melanoma_probability[0])


def test_a_file_that_is_no_image_or_not_there_is_one_error(tmp_path: Path) -> None:
    predictor = melanoma_ray.Predictor.load(build_checkpoint(str(tmp_path / "checkpoint")), "cpu")
    (tmp_path / "notes.txt").write_text("not an image")
    for name, message in (("notes.txt", "not_an_image"), ("none.jpg", "give the path of an image")):
        with pytest.raises(DataError, match=message):
            predictor.predict_file(tmp_path / name)
