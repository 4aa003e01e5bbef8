"""What the network looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.errors import ConfigError
from melanoma_ray.inference.explanation import _attention_weights, _attribute_by, attribute, explain, name_method
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.networks import Classifier
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops


def test_an_explanation_is_strongest_at_one_and_changes_with_the_diagnosis(tmp_path: Path) -> None:
    predictor = Predictor.load(build_checkpoint(str(tmp_path / "c")))
    image = draw_crops(1)[0]
    maps = [attribute(predictor, image, diagnosis) for diagnosis in DIAGNOSES]
    assert all(strength.min() >= 0 and strength.max() <= 1 for strength in maps)
    assert any(not np.array_equal(maps[0], other) for other in maps[1:])
    assert explain(predictor, image, "melanoma").shape == image.shape
    assert name_method(predictor) == "Grad-CAM"
    with pytest.raises(ConfigError, match="expected one of actinic keratosis"):
        explain(predictor, image, "wart")


@pytest.mark.parametrize("network", ["vit_tiny_patch16_224", "vit_base_patch16_siglip_224"])
def test_the_watched_attention_is_that_of_the_network_itself(network: str) -> None:
    """A block's attention, from what is watched, must give the block's own output."""
    vit = timm.create_model(network, num_classes=3, depth=2, embed_dim=96, num_heads=3).eval()
    attention = vit.blocks[0].attn
    tokens = torch.rand(1, 20, 96, generator=torch.Generator().manual_seed(0))
    projected = attention.qkv(tokens)
    weights = _attention_weights(attention, projected)
    assert weights.shape == (20, 20)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(20))
    attention.fused_attn = False
    watched: list[torch.Tensor] = []
    attention.attn_drop.register_forward_hook(lambda _, inputs, __: watched.append(inputs[0]))
    attention(tokens)
    torch.testing.assert_close(weights, watched[0].mean(dim=1)[0])


def classifier_of(network: torch.nn.Module) -> Classifier:
    return Classifier(network, (0.5,) * 3, (0.5,) * 3).eval()


def test_a_transformer_s_map_is_of_its_patches_and_follows_the_attention() -> None:
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=3, depth=2, img_size=64).eval()
    for block in vit.blocks:  # the first token attends to the patch in the second row and third column alone
        block.attn.q_norm = Constant(0, 50.0)
        block.attn.k_norm = Constant(1 + 1 * 4 + 2, 50.0)
    found = _attribute_by(classifier_of(vit), torch.zeros((1, 64, 64, 3), dtype=torch.uint8), 0)
    assert found.shape == (4, 4)
    assert int(found.argmax()) == 1 * 4 + 2
    assert found.max() > 20 * np.sort(found.ravel())[-2]


class Constant(torch.nn.Module):
    """Ones at one token, nothing elsewhere: a query there meets a key there."""

    def __init__(self, token: int, value: float) -> None:
        super().__init__()
        self.token, self.value = token, value

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        out = torch.zeros_like(given)
        out[:, :, self.token] = self.value
        return out


def test_channels_that_come_last_are_a_map_of_places_too() -> None:
    swin = timm.create_model("swin_tiny_patch4_window7_224", num_classes=3).eval()
    found = _attribute_by(classifier_of(swin), torch.zeros((1, 224, 224, 3), dtype=torch.uint8), 0)
    assert found.shape == (7, 7)


def test_what_has_neither_map_nor_plain_attention_is_refused() -> None:
    mixer = timm.create_model("mixer_s16_224", num_classes=3).eval()
    with pytest.raises(ConfigError, match="MlpMixer: its features are no map"):
        _attribute_by(classifier_of(mixer), torch.zeros((1, 224, 224, 3), dtype=torch.uint8), 0)
