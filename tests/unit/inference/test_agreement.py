"""A compiled network answers as PyTorch does, or it isn't used."""

from __future__ import annotations

import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from melanoma_ray.inference import agreement
from melanoma_ray.inference.agreement import TOLERANCE, compare, use_quickest
from melanoma_ray.inference.predictor import Predictor, decide
from melanoma_ray.inference.runtime import OpenVinoRuntime, TorchRuntime, convert
from melanoma_ray.inference.scorer import Outputs, Scorer
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


@pytest.mark.parametrize(("network", "uses_metadata"), [("baseline", True), ("tf_efficientnet_lite0", False)])
def test_the_compiled_network_answers_as_pytorch_does_whatever_the_batch(
    tmp_path: Path, network: str, *, uses_metadata: bool
) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"), network=network, uses_metadata=uses_metadata)
    quick, reference = (Predictor.load(checkpoint, "cpu", runtime=name) for name in ("quickest", "reference"))
    assert quick.scorer.runtime.name == "OpenVINO fp32"
    assert reference.scorer.runtime.name == "PyTorch fp32"
    crops, metadata = draw_crops(11), np.random.default_rng(0).random((11, 10), np.float32)
    expected = reference.scorer.answer(crops, metadata)
    together = quick.scorer.answer(crops, metadata, is_alone=False)
    alone = [quick.scorer.answer(crops[i : i + 1], metadata[i : i + 1]) for i in range(len(crops))]
    for logits in (together.logits, np.concatenate([one.logits for one in alone])):
        found = compare(expected, Outputs(logits=logits, runtime="x"), partial(decide, manifest=quick.manifest))
        assert found.num_images == 11
        assert found.holds


def test_views_and_members_in_one_batch_are_what_they_are_one_by_one(tmp_path: Path) -> None:
    members = []
    for seed in range(2):
        own = Predictor.load(build_checkpoint(str(tmp_path / str(seed))), "cpu", runtime="reference").scorer.members[0]
        with torch.no_grad():
            next(own.parameters()).mul_(1 + seed)
        members.append(own)
    manifest = Predictor.load(str(tmp_path / "0"), "cpu", runtime="reference").manifest
    config = replace(manifest.experiment.model, num_views=8)
    scorer = Scorer(members, config, len(manifest.diagnoses), torch.device("cpu"))
    expected = scorer.answer(draw_crops(3))
    scorer.runtime = OpenVinoRuntime([convert(member, 64) for member in scorer.members], 1)
    np.testing.assert_allclose(scorer.answer(draw_crops(3)).logits, expected.logits, atol=1e-4)


def test_threads_that_ask_at_a_time_each_get_their_own_answer(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    crops = draw_crops(24)
    expected = predictor.scorer.answer(crops).logits
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: predictor.scorer.answer(crops[i : i + 1], is_alone=False).logits[0], range(24)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_openvino_tells_its_makers_nothing(tmp_path: Path) -> None:
    """In a process of its own, where nobody has imported it before."""
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    program = (
        "from melanoma_ray import Predictor; import sys\n"
        f"print(Predictor.load({checkpoint!r}, 'cpu').scorer.runtime.name)\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "print(telemetry_utils.tm.__name__, sys.modules['openvino_telemetry'])"
    )
    printed = subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.PIPE, text=True).stdout
    assert printed.splitlines() == ["OpenVINO fp32", "openvino.tools.ovc.telemetry_stub None"]


class _Crooked(TorchRuntime):
    """A runtime whose logit of the first diagnosis is too high."""

    name = "crooked"

    def run(self, member: int, pictures: Tensor, metadata: Tensor, *, is_alone: bool) -> tuple[Tensor, Tensor]:
        logits, features = super().run(member, pictures, metadata, is_alone=is_alone)
        return logits + 0.1 * torch.eye(logits.shape[1])[0], features


def test_a_runtime_that_answers_otherwise_is_refused_with_the_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(agreement, "_compile", lambda scorer: _Crooked(scorer.members, scorer.device))
    with caplog.at_level(logging.WARNING):
        predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    assert predictor.scorer.runtime.name == "PyTorch fp32"
    assert "isn't used, since of 8 drawn lesions" in caplog.text
    assert f"(at most {TOLERANCE:g})" in caplog.text


def test_without_openvino_pytorch_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agreement, "has_openvino", lambda: False)
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    assert predictor.scorer.answer(draw_crops(1)).runtime == "PyTorch fp32"


def test_a_network_that_cannot_be_compiled_is_computed_by_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        msg = "no such operation\nand more"
        raise RuntimeError(msg)

    monkeypatch.setattr(agreement, "convert", fail)
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    assert predictor.scorer.runtime.name == "PyTorch fp32"
    assert caplog.messages == ["OpenVINO can't compute this network, so PyTorch does: no such operation"]


def test_a_changed_decision_counts_even_within_the_tolerance(tmp_path: Path) -> None:
    manifest = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu", runtime="reference").manifest
    logits = np.zeros((1, 9), np.float32)
    near = logits.copy()
    near[0, 3] = 1e-4
    threshold = float(decide(Outputs(logits=near), manifest).melanoma_probability[0])
    manifest = replace(manifest, calibration=replace(manifest.calibration, decision_threshold=threshold))
    found = compare(Outputs(logits=near), Outputs(logits=logits, runtime="x"), partial(decide, manifest=manifest))
    assert found.largest_difference < TOLERANCE
    assert found.num_decisions_changed == 1
    assert not found.holds


def test_broken_weights_answer_nothing_in_any_runtime(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu", runtime="reference")
    with torch.no_grad():
        next(iter(predictor.scorer.members[0].parameters())).fill_(float("nan"))
    for _ in range(2):
        assert predictor.predict(draw_crops(3)).decision == ("unassessable",) * 3
        use_quickest(predictor.scorer, partial(decide, manifest=predictor.manifest))
