"""MixUp and CutMix."""

from __future__ import annotations

import torch

from melanoma_ray.config import AugmentationConfig
from melanoma_ray.model.mixing import Mixture, draw_mixture

BLEND = AugmentationConfig(mixup_alpha=0.4)
CUT = AugmentationConfig(cutmix_alpha=1.0)


def test_blending_is_drawn_from_torch_s_seed_and_keeps_most_of_each_image() -> None:
    pixels = torch.randint(0, 256, (6, 8, 8, 3), dtype=torch.uint8)
    torch.manual_seed(3)
    mixture = draw_mixture(6, 8, BLEND)
    torch.manual_seed(3)
    again = draw_mixture(6, 8, BLEND)
    assert mixture.share == again.share
    assert torch.equal(mixture.partner, again.partner)
    assert all(0.5 <= draw_mixture(2, 8, BLEND).share <= 1 for _ in range(50))
    expected = mixture.share * pixels.float() + (1 - mixture.share) * pixels[mixture.partner].float()
    torch.testing.assert_close(mixture.mix(pixels), expected)


def test_an_alpha_of_zero_leaves_the_batch_and_the_random_numbers_alone() -> None:
    pixels = torch.zeros(4, 8, 8, 3, dtype=torch.uint8)
    state = torch.random.get_rng_state()
    assert draw_mixture(4, 8, AugmentationConfig()).mix(pixels) is pixels
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_cut_takes_just_the_pixels_that_its_share_says() -> None:
    pixels = torch.arange(6, dtype=torch.uint8).view(6, 1, 1, 1).expand(6, 32, 32, 3).contiguous()
    torch.manual_seed(0)
    for _ in range(50):
        mixture = draw_mixture(6, 32, CUT)
        own = (mixture.mix(pixels) == pixels).all(dim=3).double().mean(dim=(1, 2))
        is_alone = mixture.partner == torch.arange(6)
        torch.testing.assert_close(own[~is_alone], torch.full_like(own[~is_alone], mixture.share))


def test_where_both_are_set_both_happen() -> None:
    both = AugmentationConfig(mixup_alpha=0.4, cutmix_alpha=1.0)
    torch.manual_seed(0)
    windows = {draw_mixture(4, 32, both).window is None for _ in range(40)}
    assert windows == {True, False}


def test_mixed_images_have_mixed_metadata() -> None:
    mixture = Mixture(share=0.75, partner=torch.tensor([1, 0]))
    mixed = mixture.blend(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(mixed, torch.tensor([[0.25, 1.0], [0.75, 1.0]]))
