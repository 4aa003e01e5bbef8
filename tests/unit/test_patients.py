"""Age, sex and site beside the image: how they become numbers, and that a network hears them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from melanoma_ray.config import AugmentationConfig, ModelConfig
from melanoma_ray.errors import DataError
from melanoma_ray.loading.stream import load_and_augment
from melanoma_ray.model.mixing import Mixture
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.patients import NUM_FEATURES, encode_metadata, nothing_known
from melanoma_ray.schema import SITES
from melanoma_ray.sources.tables import look_up_patients
from melanoma_ray.training.loop import Worker
from tests.unit.training.test_loop import EXPERIMENT, SIDE, Images, LocalBackend, build_job


def patient(age: float | None = None, sex: str | None = None, site: str | None = None) -> np.ndarray:
    return encode_metadata(pd.DataFrame([{"age": age, "sex": sex, "site": site}]))[0]


def test_what_is_missing_or_unknown_is_zero() -> None:
    assert not patient().any()
    assert not patient(site="unknown").any()
    np.testing.assert_array_equal(nothing_known(2), [patient(), patient(np.nan)])


def test_each_fact_has_places_of_its_own() -> None:
    assert patient(age=50).tolist() == [1] + [0] * (NUM_FEATURES - 1)
    assert patient(age=80)[1] == pytest.approx(0.3)
    np.testing.assert_array_equal(np.flatnonzero(patient(sex="male")), [3])
    np.testing.assert_array_equal(np.flatnonzero(patient(site="torso")), [4 + SITES.index("torso")])


@pytest.mark.parametrize(
    ("word", "site"),
    [
        ("Back", "torso"),
        ("anterior torso", "torso"),
        ("scalp", "head/neck"),
        ("foot", "palms/soles"),
        ("genital", "oral/genital"),
    ],
)
def test_a_collection_s_word_means_a_site(word: str, site: str) -> None:
    np.testing.assert_array_equal(patient(site=word), patient(site=site))


def test_rows_of_a_table_are_looked_up_by_image(tmp_path: Path) -> None:
    table = tmp_path / "ham.csv"
    table.write_text("image_id,dx,age,sex,localization\nb,nv,45.0,Male,back\na,nv,,unknown,\n")
    found = encode_metadata(look_up_patients([str(table)], ["a", "b", "c"]))
    np.testing.assert_array_equal(found, [patient(), patient(45, "male", "torso"), patient()])
    assert not encode_metadata(look_up_patients([], ["a", "b"])).any()
    with pytest.raises(DataError, match="not found"):
        look_up_patients([str(tmp_path / "none.csv")], ["a"])


def rows(num_rows: int, *, is_training: bool) -> dict[str, np.ndarray]:
    seeds = np.random.default_rng(0).integers(0, 2**64, num_rows, np.uint64)
    return {
        "image": np.arange(num_rows) % 60,
        "augmentation_seed": seeds,
        "batch_index": np.zeros(num_rows, np.int64),
        "is_training": np.full(num_rows, is_training),
        "side": np.full(num_rows, SIDE),
    }


def test_a_share_of_the_training_images_hides_its_metadata_and_none_in_validation() -> None:
    images = Images()
    images.metadata = np.ones_like(images.metadata)
    config = AugmentationConfig(hidden_metadata_fraction=0.3)
    training = load_and_augment(rows(1000, is_training=True), images, config)["metadata"]
    assert training.any(axis=1).mean() == pytest.approx(0.7, abs=0.05)
    assert training.dtype == np.float32
    assert load_and_augment(rows(100, is_training=False), images, config)["metadata"].all()


def test_at_first_the_image_alone_decides() -> None:
    classifier = build_classifier(ModelConfig(image_side=SIDE, uses_metadata=True), 3).eval()
    pixels = torch.randint(0, 256, (2, SIDE, SIDE, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(classifier(pixels), classifier(pixels, torch.ones(2, NUM_FEATURES)))


def test_mixed_images_have_mixed_metadata() -> None:
    mixture = Mixture(share=0.75, partner=torch.tensor([1, 0]))
    mixed = mixture.blend(torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(mixed, torch.tensor([[0.25, 1.0], [0.75, 1.0]]))


def test_a_network_learns_from_metadata_what_no_image_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Blank(Images):
        def __init__(self) -> None:
            super().__init__()
            self.pixels = np.full_like(self.pixels, 128)
            self.metadata = np.eye(3, NUM_FEATURES, dtype=np.float32)[self.target]

    monkeypatch.setattr("tests.unit.training.test_loop.Images", Blank)
    accuracy = {}
    for uses_metadata in (False, True):
        model = replace(EXPERIMENT.model, uses_metadata=uses_metadata)
        job = build_job(
            replace(EXPERIMENT, model=model, num_epochs=20, optimizer=replace(EXPERIMENT.optimizer, learning_rate=1e-2))
        )
        port = LocalBackend(job, tmp_path / str(uses_metadata))
        accuracy[uses_metadata] = Worker(job, port).train()[-1].val_accuracy
    assert accuracy[False] == pytest.approx(1 / 3)
    assert accuracy[True] > 0.9
