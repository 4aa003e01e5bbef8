"""Parts of a report that are made only when they are asked for."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import DIAGNOSES, load_taxonomy
from melanoma_ray.documents.report import Options, evaluate
from melanoma_ray.imaging.alteration import mask_lesion, turn_grey
from melanoma_ray.inference.explanation import attribute
from melanoma_ray.inference.faithfulness import measure_faithfulness
from melanoma_ray.inference.predictions import column_name
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.likeness import build_bank, fit_appearance
from melanoma_ray.patients import encode_metadata
from melanoma_ray.sources.readings import Reading, read_readings
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE)


def test_errors_and_hits_are_explained_beside_the_most_similar_training_cases(
    checkpoint: str, prepared: str, tmp_path: Path
) -> None:
    dataset, predictor = open_dataset(prepared), Predictor.load(checkpoint, "cpu")
    train = dataset.split("train")
    features = predictor.scorer.embed(dataset.load_pixels(list(train["path"])))[:, 0]
    bank = build_bank([torch.from_numpy(features)], fit_appearance(np.random.default_rng(0).normal(size=(50, 7))))
    own = build_checkpoint(str(tmp_path / "own"), side=SIDE, bank=bank, fingerprint=dataset.info.fingerprint)
    evaluate(own, prepared, str(tmp_path), split="train", options=Options(explain=True))
    written = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(written, json.loads(SCHEMA.read_text()))
    found = written["explanations"]
    table = pd.read_parquet(tmp_path / "predictions.parquet").set_index("path")
    wrong = table[table["predicted_diagnosis"] != table["diagnosis"]]
    errors = [one for one in found["images"] if not one["is_right"]]
    hits = [one for one in found["images"] if one["is_right"]]
    assert found["num_wrong"] == len(wrong)
    surest = wrong[[column_name(name) for name in DIAGNOSES]].max(axis=1).sort_values(ascending=False)
    assert [one["probability"] for one in errors] == pytest.approx(list(surest[:6]))
    assert all(table["predicted_diagnosis"][one["path"]] == one["diagnosis"] for one in hits)
    for one in found["images"]:
        nearest = one["similar"][0]
        assert (nearest["image_id"], nearest["diagnosis"]) == (one["image_id"], one["diagnosis"])  # it is in the bank
        assert nearest["similarity"] == pytest.approx(1, abs=1e-3)
        assert len(one["similar"]) == 5
        crop = dataset.load_pixels([one["path"]])[0]
        scores = measure_faithfulness(predictor, crop, one["predicted"], attribute(predictor, crop, one["predicted"]))
        assert one["faithfulness"] == pytest.approx(asdict(scores), abs=1e-5)  # runtimes differ in the last bits
    deletions = [one["faithfulness"]["deletion"] for one in found["images"]]
    assert found["mean"]["deletion"] == pytest.approx(np.mean(deletions))
    page = (tmp_path / "report.html").read_text()
    assert "Surest errors, by Grad-CAM" in page
    assert f"among {len(train)} images of the training" in page


def test_changed_images_are_scored_and_stand_beside_what_the_tables_alone_tell(
    checkpoint: str, prepared: str, tmp_path: Path
) -> None:
    dataset, predictor = open_dataset(prepared), Predictor.load(checkpoint, "cpu")
    images = dataset.split("test")
    options = Options(shortcuts=True, readings=write_readings(tmp_path, images))
    evaluate(checkpoint, prepared, str(tmp_path), split="test", options=options)
    written = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(written, json.loads(SCHEMA.read_text()))
    crops = dataset.load_pixels(list(images["path"]))
    is_melanoma = images["diagnosis"] == "melanoma"
    found = {one["change"]: one for one in written["shortcuts"]["altered"]}
    grey = predictor.predict(np.stack([turn_grey(crop) for crop in crops])).melanoma_probability
    assert found["in grey"]["auroc"]["second"] == pytest.approx(roc_auc_score(is_melanoma, grey))
    assert found["in grey"]["auroc"]["first"] == written["figures"]["melanoma_auroc"]["value"]
    assert found["in grey"]["applied"]["numerator"] == len(images)
    masked = sum(mask_lesion(crop) is not None for crop in crops)
    assert found["lesion masked out"]["applied"]["numerator"] == masked > 0
    metadata, measurements = written["shortcuts"]["baselines"]
    train = dataset.split("train")
    peer = LogisticRegression(class_weight="balanced", max_iter=1000)
    peer.fit(encode_metadata(train), train["diagnosis"] == "melanoma")
    expected = roc_auc_score(is_melanoma, peer.decision_function(encode_metadata(images)))
    assert metadata["auroc"]["value"] == metadata["compared"]["first"] == pytest.approx(expected)
    assert metadata["num_train"] == len(train)
    assert measurements["auroc"]["denominator"] <= len(images)
    page = (tmp_path / "report.html").read_text()
    assert "Does it look at the lesion?" in page
    check_readers(written, pd.read_parquet(tmp_path / "predictions.parquet"))
    assert "Do the model and its readers agree?" in page


def check_readers(written: dict[str, Any], table: pd.DataFrame) -> None:
    """Compare with the decisions for the nine images that the reader called melanoma."""
    (reader,) = written["readers"]["readers"]
    assert reader["sensitivity"]["numerator"] == (table["decision"].iloc[:9] == "refer").sum()
    assert (reader["num_diagnosed"], written["readers"]["num_unmatched"]) == (9, 1)


def write_readings(folder: Path, images: pd.DataFrame) -> tuple[Reading, ...]:
    """Let one reader call the first nine images melanoma, and read an image of somewhere else."""
    lines = [f"{path},melanoma,Dr A" for path in images["path"].iloc[:9]]
    (folder / "reviewed.csv").write_text("\n".join(["image,diagnosis,reader", *lines, "elsewhere.jpg,nevus,Dr A"]))
    return read_readings(str(folder / "reviewed.csv"), load_taxonomy())
