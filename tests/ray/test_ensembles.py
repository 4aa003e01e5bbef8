"""Ensembles over folds and seeds: one checkpoint of all networks, figures by networks that didn't see the image."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.train import ScalingConfig
from scipy.special import softmax

from jobs import formatting
from melanoma_ray.config import Experiment, ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.documents.report import evaluate
from melanoma_ray.errors import ConfigError
from melanoma_ray.inference.explanation import attribute
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.calibration import energy
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.training.ensembles import train_folds, train_seeds
from melanoma_ray.training.trainer import Supervision, build_job, build_run_config

NUM_FOLDS = 2


@pytest.fixture(scope="module")
def folded(collection: str, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    root = str(tmp_path_factory.mktemp("folded") / "dataset")
    split = SplitConfig(num_folds=NUM_FOLDS, test_fraction=0.2)
    prepare(read_collection(collection), root, PrepareConfig(image=ImageConfig(side=64), split=split))
    return open_dataset(root)


@pytest.fixture(scope="module")
def ensemble(
    folded: PreparedDataset, small_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> RunDirectory:
    storage = str(tmp_path_factory.mktemp("runs"))
    return train_folds(replace(small_experiment, num_epochs=1), folded, **arguments(storage, "folds"))


@pytest.fixture(scope="module")
def seeds(
    folded: PreparedDataset, small_experiment: Experiment, tmp_path_factory: pytest.TempPathFactory
) -> RunDirectory:
    """An ensemble over one seed that became one over two."""
    storage, experiment = str(tmp_path_factory.mktemp("runs")), replace(small_experiment, num_epochs=1, seed=7)
    train_seeds(experiment, folded, num_seeds=1, **arguments(storage, "seeds"))
    manifest = (Path(storage) / "seeds" / "seed-7" / "best" / "manifest.json").read_bytes()
    run = train_seeds(experiment, folded, num_seeds=2, **arguments(storage, "seeds"))
    assert (Path(storage) / "seeds" / "seed-7" / "best" / "manifest.json").read_bytes() == manifest
    return run


def arguments(storage: str, name: str) -> dict[str, Any]:
    return {
        "scaling": ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
        "run_config": build_run_config(storage, name, max_failures=0),
        "supervision": Supervision(),
    }


@pytest.mark.parametrize(("fixture", "names"), [("ensemble", ("fold-0", "fold-1")), ("seeds", ("seed-7", "seed-8"))])
def test_the_ensemble_answers_with_the_mean_of_its_members_logits(
    fixture: str, names: tuple[str, str], folded: PreparedDataset, request: pytest.FixtureRequest
) -> None:
    ensemble = request.getfixturevalue(fixture)
    pixels = folded.load_pixels(list(folded.split("test")["path"][:3]))
    whole = Predictor.load(ensemble.uri, "cpu")
    members = [Predictor.load(ensemble.uri, "cpu", member=number) for number in range(2)]
    runs = [Predictor.load(f"{ensemble.uri}/{name}", "cpu") for name in names]
    logits = [member.scorer.score(pixels) for member in members]
    for member, run in zip(logits, runs, strict=True):
        np.testing.assert_array_equal(member, run.scorer.score(pixels))
    assert (logits[0] != logits[1]).any()
    answer, mean = whole.scorer.score(pixels), np.mean(logits, axis=0)
    np.testing.assert_allclose(softmax(answer, axis=1), softmax(mean, axis=1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(energy(answer), np.mean([energy(one) for one in logits], axis=0), rtol=1e-5)
    assert attribute(whole, pixels[0], whole.manifest.diagnoses[0]).shape == (64, 64)


def test_an_ensemble_is_calibrated_on_images_by_networks_that_did_n_t_learn_from_them(
    ensemble: RunDirectory, seeds: RunDirectory, folded: PreparedDataset
) -> None:
    by_folds, by_seeds = (Predictor.load(run.uri, "cpu").manifest for run in (ensemble, seeds))
    assert by_folds.calibration.num_validation_images == int(folded.index["fold"].notna().sum())
    assert by_seeds.calibration.num_validation_images == len(folded.split("val"))
    assert (by_folds.ensemble_over, by_seeds.ensemble_over) == ("folds", "seeds")
    assert "--split folds" in formatting.describe_run(ensemble)
    assert formatting.describe_run(seeds) == f"checkpoint: {seeds.best}"


def test_images_that_an_ensemble_s_networks_learnt_from_are_refused(
    ensemble: RunDirectory, seeds: RunDirectory, folded: PreparedDataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"the checkpoint is of 2 seeds, and .* has 2 folds; give the checkpoint"):
        evaluate(seeds.uri, folded.uri, str(tmp_path), split="folds")
    with pytest.raises(ConfigError, match="all but one of the checkpoint's networks were trained on it"):
        evaluate(ensemble.uri, folded.uri, str(tmp_path), split="val")
    report = evaluate(seeds.uri, folded.uri, str(tmp_path), split="val")
    assert report["figures"]["num_images"] == len(folded.split("val"))
    robustness = report["robustness"]
    images = folded.split("val")
    crops = folded.load_pixels(list(images["path"]))
    members = [Predictor.load(seeds.uri, "cpu", member=number) for number in range(2)]
    probability = np.stack([member.predict(crops).melanoma_probability for member in members], axis=1)
    is_referred = probability >= members[0].manifest.calibration.decision_threshold
    (agreement,) = robustness["agreements"]
    assert (agreement["over"], agreement["num_parts"], robustness["num_networks"]) == ("networks", 2, 2)
    assert agreement["share"]["numerator"] == (is_referred[:, 0] == is_referred[:, 1]).sum()
    worst = int(np.ptp(probability, axis=1).argmax())
    assert robustness["most_disputed"][0]["image_id"] == images["image_id"].iloc[worst]
    assert robustness["most_disputed"][0]["highest"] == pytest.approx(float(probability[worst].max()))
    assert "or another network asked?" in (tmp_path / "report.html").read_text()


def test_a_run_stays_what_it_was_begun_as(
    seeds: RunDirectory, folded: PreparedDataset, small_experiment: Experiment
) -> None:
    storage, experiment = str(Path(seeds.uri).parent), replace(small_experiment, num_epochs=1, seed=7)
    with pytest.raises(ConfigError, match=r"begun with ensemble_over='seeds' \(now 'folds'\)"):
        train_folds(experiment, folded, **arguments(storage, "seeds"))
    with pytest.raises(ConfigError, match="num_seeds=0: expected 1 or more"):
        train_seeds(experiment, folded, num_seeds=0, **arguments(storage, "none"))


def test_out_of_fold_figures_are_of_every_image_of_the_folds_by_the_network_that_didn_t_see_it(
    ensemble: RunDirectory, folded: PreparedDataset, tmp_path: Path
) -> None:
    report = evaluate(ensemble.uri, folded.uri, str(tmp_path), split="folds")
    correct = 0
    for number in range(NUM_FOLDS):
        held_out = folded.with_fold(number).split("val")
        member = Predictor.load(ensemble.uri, "cpu", member=number)
        found = member.scorer.score(folded.load_pixels(list(held_out["path"]))).argmax(axis=1)
        correct += int((found == folded.target(held_out)).sum())
    assert report["figures"]["accuracy"]["numerator"] == correct
    assert report["figures"]["num_images"] == int(folded.index["fold"].notna().sum())
    page = (tmp_path / "report.html").read_text()
    assert "cross-validation" in page
    assert "though each network learnt without its own fold" in page
    assert report["known_images"]["calibrated"] == report["figures"]["num_images"]
    assert report["known_images"]["learnt"] == 0


def test_a_diagnosis_of_a_single_lesion_is_in_one_fold_and_known_to_every_network(
    folded: PreparedDataset, small_experiment: Experiment, tmp_path: Path
) -> None:
    for diagnosis, number in (("melanoma", 8), ("nevus", 8), ("dermatofibroma", 1)):
        (tmp_path / "images" / diagnosis).mkdir(parents=True)
        for path in folded.index.loc[folded.index["diagnosis"] == diagnosis, "path"].iloc[:number]:
            shutil.copy(path, tmp_path / "images" / diagnosis)
    split = SplitConfig(num_folds=NUM_FOLDS, test_fraction=0.0)
    prepare(
        read_collection(str(tmp_path / "images")),
        str(tmp_path / "data"),
        PrepareConfig(image=ImageConfig(side=64), split=split, near_duplicates="ignore"),
    )
    dataset = open_dataset(str(tmp_path / "data"))
    assert "dermatofibroma" in dataset.info.diagnoses
    counts = []
    for fold in range(NUM_FOLDS):
        one = dataset.with_fold(fold)
        assert (one.target(one.index) >= 0).all()
        counts.append(build_job(small_experiment, one).num_train_images[dataset.info.diagnoses.index("dermatofibroma")])
    assert sorted(counts) == [0, 1]


def test_folds_are_refused_where_there_are_none(
    ensemble: RunDirectory, prepared: str, small_experiment: Experiment, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"the checkpoint is of 2 folds, and .* has 0 folds"):
        evaluate(ensemble.uri, prepared, str(tmp_path), split="folds")
    with pytest.raises(ConfigError, match="has none; prepare it"):
        train_folds(small_experiment, open_dataset(prepared), **arguments(str(tmp_path), "none"))
