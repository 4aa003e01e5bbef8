"""A map that marks what the network goes by scores better than chance, and one that marks the rest scores worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from melanoma_ray.inference.faithfulness import measure_faithfulness
from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint

SIDE = 64


class Contrast(torch.nn.Module):
    """Answers the first diagnosis by how much structure there is in the upper left quarter, and nowhere else."""

    def forward_features(self, image: torch.Tensor) -> torch.Tensor:
        return image

    def forward_head(self, features: torch.Tensor, pre_logits: bool = False) -> torch.Tensor:  # noqa: FBT001, FBT002
        if pre_logits:
            return features.mean(dim=(2, 3))
        corner = features[:, :, : SIDE // 2, : SIDE // 2].mean(dim=1)
        logits = torch.zeros(len(features), 9)
        logits[:, 0] = corner.diff(dim=2).abs().mean(dim=(1, 2)) / 4
        return logits


@pytest.fixture
def predictor(tmp_path: Path) -> Predictor:
    loaded = Predictor.load(build_checkpoint(str(tmp_path / "c")), "cpu")
    loaded.scorer.members[0].network = Contrast()
    return loaded


def test_a_true_map_beats_chance_both_ways_and_a_false_one_loses(predictor: Predictor) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    diagnosis = predictor.manifest.diagnoses[0]
    true_map = np.zeros((SIDE, SIDE), np.float32)
    true_map[: SIDE // 2, : SIDE // 2] = 1
    good = measure_faithfulness(predictor, pixels, diagnosis, true_map)
    bad = measure_faithfulness(predictor, pixels, diagnosis, 1 - true_map)
    assert good.deletion < good.deletion_at_random < bad.deletion
    assert good.insertion > good.insertion_at_random > bad.insertion
    assert good.deletion_at_random == bad.deletion_at_random
    assert 0 <= good.deletion <= good.insertion <= 1


def test_an_answer_that_no_part_changes_has_one_score(predictor: Predictor) -> None:
    flat = np.full((SIDE, SIDE, 3), 128, np.uint8)
    found = measure_faithfulness(predictor, flat, predictor.manifest.diagnoses[0], np.ones((SIDE, SIDE), np.float32))
    assert found.deletion == pytest.approx(found.insertion)
    assert found.deletion == pytest.approx(found.deletion_at_random)
