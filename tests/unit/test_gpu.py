"""What only a CUDA device can show; `make test-gpu`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.loading.device_prefetch import prefetch_to_device
from melanoma_ray.model.precision import autocast_dtype
from melanoma_ray.patients import nothing_known
from melanoma_ray.recipes import convnext
from melanoma_ray.training.state import build_state
from melanoma_ray.training.step import Stepper
from tests.checkpoints import build_checkpoint
from tests.unit.training.stepping import SteppingBackend

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


def test_batches_arrive_whole_and_in_order_while_the_network_works() -> None:
    device, random = torch.device("cuda"), np.random.default_rng(0)
    sent = [
        {
            "batch_index": np.full(8, batch_index),
            "pixels": random.integers(0, 256, (8, 256, 256, 3), np.uint8),
            "metadata": nothing_known(8),
            "target": random.integers(0, 9, 8),
        }
        for batch_index in range(12)
    ]
    work = torch.randn(2048, 2048, device=device)
    for batch, expected in zip(prefetch_to_device(sent, device), sent, strict=True):
        work = work @ work / work.norm()
        assert batch.pixels.device.type == "cuda"
        for name in ("batch_index", "pixels", "metadata", "target"):
            found = getattr(batch, name)
            np.testing.assert_array_equal(found if name == "batch_index" else found.cpu().numpy(), expected[name])


@pytest.mark.parametrize("compiled", [False, True])
def test_the_gpu_recipe_learns_a_batch_by_heart(*, compiled: bool) -> None:
    model = replace(convnext().model, pretrained=False, image_side=64, dropout=0.0, compile=compiled)
    experiment = replace(convnext(), model=model)
    backend = SteppingBackend("cuda")
    state = build_state(experiment, 9, backend.device)
    stepper = Stepper(state, experiment, (4,) * 9, backend)
    pixels = torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8, device=backend.device)
    target, metadata = torch.arange(8, device=backend.device), torch.from_numpy(nothing_known(8)).to(backend.device)
    losses = [stepper.train(pixels, metadata, target, 40).loss_sum for _ in range(40)]
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
