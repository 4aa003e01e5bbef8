"""What the network looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.errors import ConfigError
from melanoma_ray.inference.explanation import attribute, explain
from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


def test_an_explanation_is_strongest_at_one_and_changes_with_the_diagnosis(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    image = draw_crops(1)[0]
    maps = [attribute(predictor, image, diagnosis) for diagnosis in DIAGNOSES]
    assert all(strength.min() >= 0 and strength.max() <= 1 for strength in maps)
    assert any(not np.array_equal(maps[0], other) for other in maps[1:])
    assert explain(predictor, image, "melanoma").shape == image.shape
    with pytest.raises(ConfigError, match="expected one of actinic keratosis"):
        explain(predictor, image, "wart")
