"""An exported checkpoint answers in ONNX Runtime as it does in PyTorch, and says what else is needed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from melanoma_ray.errors import CheckpointError, ConfigError
from melanoma_ray.inference import export
from melanoma_ray.inference.agreement import TOLERANCE
from melanoma_ray.inference.export import EXPORT, export_checkpoint
from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


@pytest.mark.parametrize("uses_metadata", [False, True])
def test_the_file_alone_is_enough_to_get_the_same_logits(tmp_path: Path, *, uses_metadata: bool) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"), uses_metadata=uses_metadata)
    crops, metadata = draw_crops(3), np.random.default_rng(0).random((3, 10), np.float32)
    exported = export_checkpoint(checkpoint, str(tmp_path / "out"), crops, metadata)
    assert [(name, found.num_images) for name, found in exported.agreements] == [
        ("drawn lesions", 8),
        ("drawn lesions", 8),
        ("validation split", 3),
        ("validation split", 3),
    ]
    (name,) = exported.files
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / name), providers=["CPUExecutionProvider"])
    given = {"pixels": crops} | ({"metadata": metadata} if uses_metadata else {})
    logits, _ = session.run(None, given)
    reference = Predictor.load(checkpoint, "cpu", runtime="reference").scorer.answer(crops, metadata)
    np.testing.assert_allclose(logits, reference.logits, atol=1e-4)
    described = json.loads((tmp_path / "out" / EXPORT).read_text())
    assert described["files"] == {name: hashlib.sha256((tmp_path / "out" / name).read_bytes()).hexdigest()}
    assert described["calibration"]["decision_threshold"] == 0.1
    assert described["image"]["side"] == 64
    assert max(one["largest_difference"] for one in described["agreement"]) <= described["tolerance"] == TOLERANCE


def test_an_export_that_answers_otherwise_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    other = Predictor.load(build_checkpoint(str(tmp_path / "other"), network="tf_efficientnet_lite0"), "cpu")
    wrong = export.to_onnx(other.scorer.members[0], 64)
    monkeypatch.setattr(export, "to_onnx", lambda *_: wrong)
    with pytest.raises(CheckpointError, match=r"^checkpoint .*c: in ONNX Runtime fp32, of 8 images .*nothing was"):
        export_checkpoint(checkpoint, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else "found")
    with pytest.raises(ConfigError, match=r"^not installed: onnxscript; pip install 'melanoma-ray\[export\]'$"):
        export.check_packages()
