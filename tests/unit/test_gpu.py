"""What only a CUDA device can show; `make test-gpu`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from melanoma_ray.model.precision import autocast_dtype
from melanoma_ray.model.predictor import Predictor
from tests.checkpoints import build_checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
]


def test_a_gpu_answers_as_a_cpu_does_but_for_rounding(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"), network="tf_efficientnet_lite0")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    on_gpu, on_cpu = (Predictor.load(checkpoint, device).predict(images) for device in ("cuda", "cpu"))
    np.testing.assert_allclose(on_gpu.probability, on_cpu.probability, atol=1e-3)


def test_an_answer_on_a_gpu_doesn_t_depend_on_who_else_is_asked_about(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c"), network="tf_efficientnet_lite0"), "cuda")
    images = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), np.uint8)
    together = predictor.predict(images)
    np.testing.assert_array_equal(predictor.predict(images[3:4]).probability[0], together.probability[3])


def test_bf16_is_taken_where_the_gpu_has_it() -> None:
    expected = torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float32
    assert autocast_dtype("auto", torch.device("cuda")) == expected
