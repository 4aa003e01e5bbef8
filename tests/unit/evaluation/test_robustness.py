"""Views and networks that agree, or don't."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.documents.sections.robustness import robustness
from melanoma_ray.evaluation.probes.robustness import Robustness, measure_robustness
from melanoma_ray.evaluation.wording import Words
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.inference.scorer import Outputs, Scorer
from melanoma_ray.model.checkpoint import Manifest
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import baseline
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops

MELANOMA = DIAGNOSES.index("melanoma")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    directory = str(tmp_path_factory.mktemp("checkpoint"))
    manifest = Predictor.load(build_checkpoint(directory), "cpu").manifest
    return replace(manifest, calibration=replace(manifest.calibration, temperature=1.0, decision_threshold=0.5))


def logits_of(probability: np.ndarray) -> np.ndarray:
    """Return logits by which melanoma has these probabilities."""
    logits = np.zeros((*probability.shape, len(DIAGNOSES)), np.float32)
    logits[..., MELANOMA] = np.log(probability / (1 - probability) * (len(DIAGNOSES) - 1))
    return logits


def measure(probability: np.ndarray, manifest: Manifest) -> Robustness | None:
    """Measure images with the melanoma probability of each (member, view)."""
    parts = logits_of(probability)
    number = len(parts)
    images = pd.DataFrame({"image_id": [f"i{n}" for n in range(number)], "path": "p", "diagnosis": "nevus"})
    outputs = Outputs(logits=parts.mean(axis=(1, 2)), parts=parts)
    return measure_robustness(outputs, images, np.arange(number), manifest)


def test_the_share_is_of_images_whose_every_part_decides_alike(manifest: Manifest) -> None:
    probability = np.array(
        [
            [[0.9, 0.8], [0.7, 0.6]],  # all refer
            [[0.1, 0.2], [0.3, 0.4]],  # none does
            [[0.9, 0.4], [0.9, 0.4]],  # views differ
            [[0.9, 0.9], [0.2, 0.2]],  # networks differ
        ]
    )
    found = measure(probability, manifest)
    assert found is not None
    shares = {one.over: (one.share.numerator, one.num_parts) for one in found.agreements}
    assert shares == {"views": (3, 2), "networks": (3, 2), "views and networks": (2, 4)}
    assert [one.image_id for one in found.most_disputed[:2]] == ["i3", "i2"]
    worst = found.most_disputed[0]
    assert (worst.num_referring, worst.num_parts) == (2, 4)
    assert (worst.lowest, worst.highest) == pytest.approx((0.2, 0.9))
    assert found.median_spread == pytest.approx((0.3 + 0.5) / 2)
    section = robustness(found, Words.of("melanoma"), 0.5)
    assert section is not None
    assert "2 networks, each over 2 views" in section.paragraphs[0]
    assert section.tables[1].rows[0] == ("i3", "nevus", "20.0 %", "90.0 %", "2 of 4")


def test_one_network_is_told_by_its_views_alone_and_one_view_of_one_network_not_at_all(manifest: Manifest) -> None:
    views = measure(np.array([[[0.9, 0.1, 0.9, 0.9]]]), manifest)
    assert views is not None
    assert [one.over for one in views.agreements] == ["views"]
    assert measure(np.array([[[0.9]]]), manifest) is None
    assert robustness(None, Words.of("melanoma"), 0.5) is None


def test_an_image_without_an_answer_is_in_no_share(manifest: Manifest) -> None:
    found = measure(np.array([[[0.9, 0.8]], [[np.nan, 0.8]]]), manifest)
    assert found is not None
    assert found.num_images == 1
    assert measure(np.full((2, 1, 2), np.nan), manifest) is None


def test_the_scorer_s_parts_are_its_networks_and_views_and_their_mean_its_answer() -> None:
    model = replace(baseline().model, image_side=64, num_views=4)
    members = [build_classifier(model, 9) for _ in range(2)]
    crops = draw_crops(3)
    device = members[0].mean.device
    scorer = Scorer(members, model, 9, device)
    outputs = scorer.answer(crops, keep_parts=True)
    assert outputs.parts is not None
    assert outputs.parts.shape == (3, 2, 4, 9)
    for number, member in enumerate(members):
        alone = Scorer([member], model, 9, device).answer(crops).logits
        np.testing.assert_allclose(outputs.parts[:, number].mean(axis=1), alone, rtol=1e-5, atol=1e-5)
    one_view = Scorer(members[:1], replace(model, num_views=1), 9, device).answer(crops).logits
    np.testing.assert_array_equal(outputs.parts[:, 0, 0], one_view)
    assert scorer.answer(crops).parts is None
    np.testing.assert_array_equal(scorer.answer(crops).logits, outputs.logits)
