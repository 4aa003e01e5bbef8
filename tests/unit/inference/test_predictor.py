"""The one way from an image to a decision: the same answer to the bit, by the manifest's thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from melanoma_ray.inference.predictor import Predictor, views
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


def test_an_answer_doesn_t_depend_on_who_else_is_asked_about(tmp_path: Path) -> None:
    for network in ("baseline", "tf_efficientnet_lite0"):
        predictor = Predictor.load(build_checkpoint(str(tmp_path / network), network=network))
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
