"""The one way from an image to a decision: the same answer whatever the batch, by the manifest's thresholds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from melanoma_ray.inference.predictions import tabulate_predictions
from melanoma_ray.inference.predictor import NOT_FINITE, Predictor, decide
from melanoma_ray.inference.scorer import Outputs, views
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


def test_an_answer_of_pytorch_is_the_same_to_the_bit_whoever_else_is_asked_about(tmp_path: Path) -> None:
    for network in ("baseline", "tf_efficientnet_lite0"):
        predictor = Predictor.load(build_checkpoint(str(tmp_path / network), network=network), runtime="reference")
        images = draw_crops(5)
        together = predictor.predict(images)
        for i in range(len(images)):
            alone = predictor.predict(images[i : i + 1])
            np.testing.assert_array_equal(alone.probability[0], together.probability[i])
            assert alone.decision[0] == together.decision[i]


def test_predictions_follow_the_manifest_s_thresholds(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    predictions = predictor.predict(draw_crops(8))
    np.testing.assert_allclose(predictions.probability.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_array_equal(predictions.melanoma_probability, predictions.probability[:, 3])
    threshold = predictor.manifest.calibration.decision_threshold
    for probability, decision in zip(predictions.melanoma_probability, predictions.decision, strict=True):
        assert (probability >= threshold) == (decision == "refer")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_no_answer_and_never_routine(tmp_path: Path, value: float) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    logits = np.zeros((3, 9), np.float32)
    logits[1, 4] = value
    predictions = decide(Outputs(logits=logits), predictor.manifest)
    assert predictions.decision[1] == "unassessable"
    assert predictions.is_answered.tolist() == [True, False, True]
    first, second, _ = predictions.assess(predictor.manifest.diagnoses)
    assert (second.probabilities, second.melanoma_probability, second.diagnosis) == ({}, None, None)
    assert second.error is not None
    assert first.error is None
    assert first.diagnosis in predictor.manifest.diagnoses
    table = tabulate_predictions(["a", "b", "c"], ["a", "b", "c"], predictions, predictor.manifest.diagnoses)
    assert table["decision"].to_pylist()[1] == "unassessable"
    assert [table[name][1].as_py() for name in ("melanoma_probability", "predicted_diagnosis")] == [None, None]
    assert table["error"].to_pylist() == [None, NOT_FINITE, None]


def test_the_predicted_diagnosis_is_the_balanced_or_the_most_probable_one_as_asked(tmp_path: Path) -> None:
    manifest = Predictor.load(build_checkpoint(str(tmp_path / "c"))).manifest
    biased = replace(manifest, calibration=replace(manifest.calibration, bias=(0.0, 5.0) + (0.0,) * 7))
    logits = np.array([[2.0, 1.0] + [0.0] * 7], np.float32)
    assert decide(Outputs(logits=logits), biased).diagnosis.tolist() == [0]
    decision = replace(manifest.experiment.decision, diagnosis_by="calibrated")
    by_probability = replace(biased, experiment=replace(manifest.experiment, decision=decision))
    assert decide(Outputs(logits=logits), by_probability).diagnosis.tolist() == [1]


def test_a_decision_on_malignancy_sums_all_malignant_diagnoses(tmp_path: Path) -> None:
    manifest = Predictor.load(build_checkpoint(str(tmp_path / "c"))).manifest
    decision = replace(manifest.experiment.decision, refer_for="malignancy")
    malignancy = replace(manifest, experiment=replace(manifest.experiment, decision=decision))
    assert malignancy.referred == ("basal cell carcinoma", "melanoma", "squamous cell carcinoma")
    found = decide(Outputs(logits=np.zeros((1, 9), np.float32)), malignancy)
    np.testing.assert_allclose(found.melanoma_probability, 3 / 9, rtol=1e-6)


def test_no_images_give_no_predictions(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    assert len(predictor.predict(draw_crops(0))) == 0


def test_eight_views_are_the_eight_ways_to_lay_a_crop() -> None:
    pixels = torch.arange(2 * 3 * 3 * 1).view(2, 3, 3, 1)
    seen = {view[0].numpy().tobytes() for view in views(pixels, 8)}
    turned = [np.rot90(side, k) for side in (pixels[0].numpy(), pixels[0].numpy()[:, ::-1]) for k in range(4)]
    assert seen == {np.ascontiguousarray(view).tobytes() for view in turned}
    for num_views in (1, 2, 4, 8):
        found = list(views(pixels, num_views))
        assert len(found) == num_views
        assert torch.equal(found[0], pixels)
