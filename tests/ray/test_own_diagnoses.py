"""Sets of two words and diagnoses of one's own: prepared, trained, calibrated and evaluated by their taxonomy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from ray.train import ScalingConfig

from melanoma_ray.config import Experiment, ImageConfig, PrepareConfig, SplitConfig
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import load_taxonomy
from melanoma_ray.documents.report import evaluate
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.preparation.pipeline import prepare
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.training.trainer import build_run_config, train

OWN = "name,diagnosis,is_melanoma,is_malignant\nbenign,mole,no,no\nmalignant,sarcoma,no,yes\n"


def draw(folder: Path) -> None:
    """Write 40 dark malignant and 40 bright benign pictures, each unlike all others."""
    for number in range(80):
        name, low = ("malignant", 0) if number % 2 else ("benign", 128)
        blocks = np.random.default_rng(number).integers(low, low + 128, (8, 8, 3))
        path = folder / name / f"melanoma_{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(blocks.repeat(4, 0).repeat(4, 1).astype(np.uint8)).save(path)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        pytest.param(None, ("benign", "malignant"), id="two words", marks=pytest.mark.slow),
        pytest.param(OWN, ("mole", "sarcoma"), id="own diagnoses"),
    ],
)
def test_a_set_without_melanoma_refers_what_is_malignant(
    text: str | None, names: tuple[str, str], local_ray: None, small_experiment: Experiment, tmp_path: Path
) -> None:
    draw(tmp_path / "images")
    taxonomy = None if text is None else load_taxonomy(text)
    config = PrepareConfig(image=ImageConfig(side=32), split=SplitConfig(val_fraction=0.25, test_fraction=0.25))
    info = prepare(read_collection(str(tmp_path / "images"), taxonomy=taxonomy), str(tmp_path / "data"), config)
    assert info.diagnoses == names
    assert [one.is_malignant for one in info.taxonomy] == [False, True]
    experiment = replace(small_experiment, model=replace(small_experiment.model, image_side=32), num_epochs=4)
    scaling = ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1})
    run_config = build_run_config(str(tmp_path), "run", max_failures=0)
    run = train(experiment, open_dataset(str(tmp_path / "data")), scaling=scaling, run_config=run_config)
    predictor = Predictor.load(run.uri, "cpu")
    assert (predictor.manifest.referred_for, predictor.manifest.referred) == ("malignancy", (names[1],))
    report = evaluate(run.uri, str(tmp_path / "data"), str(tmp_path / "report"), split="test")
    assert report["figures"]["melanoma_auroc"]["value"] > 0.9
    assert report["figures"]["sensitivity"]["denominator"] == info.num_images["test"][names[1]]
    table = pq.read_table(tmp_path / "report" / "predictions.parquet").to_pandas()
    np.testing.assert_allclose(table["melanoma_probability"], table[f"probability_{names[1]}"])
    assert "no class of this model is melanoma" in (tmp_path / "report" / "report.html").read_text()
