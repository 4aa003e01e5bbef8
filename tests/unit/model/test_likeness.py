"""How far an image's features are from those of training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors

from benchmarks.pictures import draw_others
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.errors import CheckpointError
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model import likeness
from melanoma_ray.model.checkpoint import BANK, read_bank, read_manifest
from melanoma_ray.model.likeness import (
    NEIGHBOURS,
    FeatureBank,
    fit_appearance,
    from_bytes,
    join_banks,
    to_bytes,
)
from melanoma_ray.synthetic.plan import draw_lesion
from tests.checkpoints import build_checkpoint
from tests.crops import draw_crops

LOOKS = np.random.default_rng(0).normal(size=(200, 7))


def build_bank(features: list[torch.Tensor], looks: np.ndarray = LOOKS) -> FeatureBank:
    return likeness.build_bank(features, fit_appearance(looks))


def draw(number: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(number, 12, generator=torch.Generator().manual_seed(seed))


def test_the_distance_is_one_minus_the_cosine_to_the_fifth_neighbour() -> None:
    bank, asked = build_bank([draw(50)]), draw(20, seed=1)
    peer = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(draw(50).numpy())
    expected = peer.kneighbors(asked.numpy())[0][:, -1]
    np.testing.assert_allclose(bank.measure_distance([asked]).numpy(), expected, atol=1e-3)


def test_brightness_alone_moves_nothing_and_nothing_at_all_is_far_from_everything() -> None:
    bank = build_bank([draw(50)])
    asked = draw(3, seed=1)
    torch.testing.assert_close(bank.measure_distance([asked]), bank.measure_distance([7 * asked]))
    assert bank.measure_distance([torch.zeros(1, 12)]).item() == 1


def test_networks_count_alike_and_each_has_its_own_bank() -> None:
    first, second = draw(50), draw(3, seed=2)
    both, asked = build_bank([first, second]), [draw(4, seed=3), draw(4, seed=4)]
    alone = [both.only(number).measure_distance([asked[number]]) for number in range(2)]
    torch.testing.assert_close(both.measure_distance(asked), (alone[0] + alone[1]) / 2)


def test_a_file_gives_the_same_distances_to_the_bit() -> None:
    bank, asked = build_bank([draw(50), draw(40, seed=5)]), [draw(9, seed=1)] * 2
    again = from_bytes(to_bytes(bank))
    assert torch.equal(again.measure_distance(asked), bank.measure_distance(asked))
    np.testing.assert_array_equal(again.measure_appearance(LOOKS[:5]), bank.measure_appearance(LOOKS[:5]))


def test_each_network_of_an_ensemble_over_folds_goes_by_how_its_own_images_look() -> None:
    banks = [build_bank([draw(50, seed)], LOOKS + 3 * seed) for seed in range(2)]
    joined = from_bytes(to_bytes(join_banks(banks)))
    alone = [bank.measure_appearance(LOOKS[:5]) for bank in banks]
    assert alone[1].min() > alone[0].max()
    np.testing.assert_allclose(joined.measure_appearance(LOOKS[:5]), (alone[0] + alone[1]) / 2)
    for number in range(2):
        np.testing.assert_array_equal(joined.only(number).measure_appearance(LOOKS[:5]), alone[number])


def test_an_older_ensemble_has_one_appearance_for_all_its_networks() -> None:
    older = FeatureBank(build_bank([draw(50), draw(40)]).members, (fit_appearance(LOOKS),))
    again = from_bytes(to_bytes(older))
    assert (len(again.members), len(again.appearances)) == (2, 1)
    for bank in (again, again.only(0), again.only(1)):
        np.testing.assert_array_equal(bank.measure_appearance(LOOKS[:5]), older.measure_appearance(LOOKS[:5]))


def test_features_that_are_not_finite_have_no_distance() -> None:
    asked = draw(2, seed=1)
    asked[0, 0] = float("nan")
    assert build_bank([draw(50)]).measure_distance([asked]).isnan().tolist() == [True, False]


@pytest.mark.parametrize("network", ["baseline", "tf_efficientnet_lite0"])
def test_a_checkpoint_s_bank_decides_and_an_older_one_without_goes_by_the_energy(tmp_path: Path, network: str) -> None:
    crops = draw_crops(12)
    older = Predictor.load(build_checkpoint(str(tmp_path / "older"), network=network), "cpu")
    assert older.scorer.answer(crops).distance is None
    features = [torch.from_numpy(own) for own in older.scorer.embed(crops).transpose(1, 0, 2)]
    bank = build_bank(features, describe_appearance(crops))
    checkpoint = build_checkpoint(str(tmp_path / "newer"), network=network, bank=bank)
    newer = Predictor.load(checkpoint, "cpu")
    assert newer.manifest.calibration.out_of_distribution_score == "distance"
    outputs = newer.scorer.answer(crops)
    np.testing.assert_allclose(outputs.logits, older.scorer.answer(crops).logits, rtol=1e-4, atol=1e-4)
    assert outputs.distance is not None
    alone = [newer.scorer.answer(crops[place : place + 1]).distance for place in range(len(crops))]
    np.testing.assert_allclose(outputs.distance, np.concatenate([one for one in alone if one is not None]), atol=1e-5)
    calibration = newer.manifest.calibration
    limits = (calibration.out_of_distribution_threshold, calibration.appearance_threshold)
    far = np.any(outputs.distance > np.array(limits, float), axis=1).tolist()
    for decision, is_far in zip(newer.predict(crops).decision, far, strict=True):
        assert decision == "refer" or (decision == "unassessable") == is_far


def test_a_damaged_bank_is_found_and_a_missing_one_too(tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "c"), bank=build_bank([torch.rand(20, 64)]))
    manifest = read_manifest(checkpoint)
    assert read_bank(checkpoint, manifest) is not None
    file = Path(checkpoint) / BANK
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="corrupted: its sha256 is"):
        Predictor.load(checkpoint)
    file.unlink()
    with pytest.raises(CheckpointError, match="missing, though the manifest lists it"):
        Predictor.load(checkpoint)


def test_the_appearance_is_the_mahalanobis_distance_of_a_peer() -> None:
    peer = EmpiricalCovariance().fit(LOOKS)
    np.testing.assert_allclose(fit_appearance(LOOKS).measure_distance(LOOKS), peer.mahalanobis(LOOKS), rtol=0.1)


def test_a_single_training_image_is_enough_to_be_measured_by() -> None:
    assert np.isfinite(fit_appearance(LOOKS[:1]).measure_distance(LOOKS)).all()


def test_pictures_that_are_no_lesions_look_otherwise_whatever_a_network_has_learnt() -> None:
    drawn = [
        draw_lesion(diagnosis=DIAGNOSES[seed % 9], lesion_seed=seed, view_seed=seed, width=64, height=64)
        for seed in range(90)
    ]
    looks = describe_appearance(np.stack(drawn))
    appearance = fit_appearance(looks[:60])
    threshold = appearance.measure_distance(looks[60:]).max()
    for kind in ("white", "black", "noise", "text"):
        found = appearance.measure_distance(describe_appearance(draw_others(kind, 10, 64)))
        assert found.min() > threshold, kind
