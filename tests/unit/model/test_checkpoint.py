"""Checkpoints: complete, undamaged, of this format, or refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from melanoma_ray.config import ModelConfig
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.errors import CheckpointError, ConfigError
from melanoma_ray.inference.explanation import attribute, explain
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest
from melanoma_ray.model.networks import build_classifier, num_parameters
from melanoma_ray.recipes import baseline, lite0
from melanoma_ray.settings import experiment_from_dict, to_dict, with_setting
from tests.checkpoints import build_checkpoint


def squares(number: int, side: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (number, side, side, 3), np.uint8)


def test_the_baseline_has_the_seed_s_number_of_parameters() -> None:
    assert num_parameters(build_classifier(baseline().model, len(DIAGNOSES))) == 3_989_801


def test_lite0_starts_from_imagenet_weights_and_frozen_stages_stay_as_they_are() -> None:
    config = replace(lite0().model, num_frozen_stages=3)
    classifier, other = build_classifier(config, 9), build_classifier(config, 7)
    first, second = (model.network.conv_stem.weight for model in (classifier, other))
    assert torch.equal(first, second)
    assert not first.requires_grad
    assert classifier.network.classifier.weight.requires_grad
    before = classifier.network.bn1.running_mean.clone()
    classifier.train()(torch.from_numpy(squares(2, 180)))
    assert torch.equal(before, classifier.network.bn1.running_mean)


def test_any_network_of_timm_s_is_built_by_name_and_an_unknown_one_is_refused() -> None:
    classifier = build_classifier(ModelConfig(network="resnet18", image_side=64), 4)
    assert classifier(torch.from_numpy(squares(2))).shape == (2, 4)
    with pytest.raises(ConfigError, match=r"model\.network='resnet0815'"):
        build_classifier(ModelConfig(network="resnet0815"), 4)


def test_a_checkpoint_is_found_by_its_directory_its_run_and_a_sweep_s_best_json(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "run" / "best"))
    (tmp_path / "best.json").write_text(json.dumps({"checkpoint": checkpoint}))
    for name in (checkpoint, str(tmp_path / "run"), str(tmp_path / "best.json")):
        assert find_checkpoint(name) == checkpoint


def test_a_missing_checkpoint_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not found; give a checkpoint directory"):
        Predictor.load(str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match=r"has no manifest\.json"):
        Predictor.load(str(tmp_path))


def test_another_format_version_is_refused(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    manifest = Path(checkpoint) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"format_version": 99}))
    with pytest.raises(CheckpointError, match=r"format version 99: this melanoma_ray .* reads 1"):
        Predictor.load(checkpoint)


def test_a_flipped_bit_is_found_by_its_sha256(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    weights = Path(checkpoint) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(CheckpointError, match="corrupted: its sha256 is"):
        Predictor.load(checkpoint)


def test_a_manifest_with_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"))
    manifest = Path(checkpoint) / "manifest.json"
    data = json.loads(manifest.read_text())
    data["experiment"]["optimizer"]["momentum"] = 0.9
    manifest.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r"optimizer\.momentum"):
        read_manifest(checkpoint)


def test_an_answer_doesn_t_depend_on_who_else_is_asked_about(tmp_path: Path) -> None:
    for network in ("baseline", "tf_efficientnet_lite0"):
        predictor = Predictor.load(build_checkpoint(str(tmp_path / network), network=network))
        images = squares(5)
        together = predictor.predict(images)
        for i in range(len(images)):
            alone = predictor.predict(images[i : i + 1])
            np.testing.assert_array_equal(alone.probability[0], together.probability[i])
            assert alone.decision[0] == together.decision[i]


def test_predictions_follow_the_manifest_s_thresholds(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    predictions = predictor.predict(squares(8))
    np.testing.assert_allclose(predictions.probability.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions.melanoma_probability, predictions.probability[:, 3])
    threshold = predictor.manifest.calibration.decision_threshold
    for probability, decision in zip(predictions.melanoma_probability, predictions.decision, strict=True):
        assert (probability >= threshold) == (decision == "refer")


def test_no_images_give_no_predictions(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    assert len(predictor.predict(squares(0))) == 0


def test_an_explanation_is_strongest_at_one_and_changes_with_the_diagnosis(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    image = squares(1)[0]
    maps = [attribute(predictor, image, diagnosis) for diagnosis in DIAGNOSES]
    assert all(strength.min() >= 0 and strength.max() <= 1 for strength in maps)
    assert any(not np.array_equal(maps[0], other) for other in maps[1:])
    assert explain(predictor, image, "melanoma").shape == image.shape
    with pytest.raises(ConfigError, match="this model knows actinic keratosis"):
        explain(predictor, image, "wart")


def test_an_experiment_survives_json_and_a_dotted_change() -> None:
    experiment = lite0()
    assert experiment_from_dict(json.loads(json.dumps(to_dict(experiment)))) == experiment
    changed = with_setting(experiment, "optimizer.learning_rate", 0.5)
    assert changed.optimizer.learning_rate == 0.5
    with pytest.raises(ConfigError, match=r"optimizer\.speed"):
        with_setting(experiment, "optimizer.speed", 1)
    with pytest.raises(ConfigError, match=r"loss\.label_smoothing=2\.0: expected \[0, 1\)"):
        with_setting(experiment, "loss.label_smoothing", 2.0)
