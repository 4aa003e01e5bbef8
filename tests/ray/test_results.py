"""Evaluation, batch prediction and the sweep: one predictor, real files, real trials."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pandas as pd
import pytest

from melanoma_ray import storage
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.documents.report import evaluate
from melanoma_ray.errors import DataError
from melanoma_ray.inference.agreement import TOLERANCE
from melanoma_ray.inference.predictions import column_name, find_checkpoint_id
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import find_checkpoint, identify
from melanoma_ray.patients import encode_metadata
from melanoma_ray.sources.unlabelled import list_images
from melanoma_ray.triage.batch import triage
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE

SCHEMA = Path(__file__).parents[2] / "docs" / "report.schema.json"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_checkpoint(str(tmp_path_factory.mktemp("checkpoint")), side=SIDE)


def makers(*predictions: str) -> set[str | None]:
    """Ids of the checkpoints that have made tables of predictions."""
    return {find_checkpoint_id(storage.read_table(uri)) for uri in predictions}


def test_a_report_has_every_figure_with_its_interval_and_says_synthetic(
    checkpoint: str, prepared: str, tmp_path: Path
) -> None:
    report = evaluate(checkpoint, prepared, str(tmp_path), split="test")
    written = json.loads((tmp_path / "report.json").read_text())
    jsonschema.validate(written, json.loads(SCHEMA.read_text()))
    assert (figures := written["figures"]) == report["figures"]
    for name in ("accuracy", "balanced_accuracy", "melanoma_auroc", "sensitivity", "specificity"):
        assert figures[name]["low"] <= figures[name]["value"] <= figures[name]["high"]
    test = open_dataset(prepared).split("test")
    assert figures["accuracy"]["denominator"] == len(test) == np.sum(figures["confusion"])
    assert figures["sensitivity"]["denominator"] == (test["diagnosis"] == "melanoma").sum()
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert list(table["path"]) == list(test["path"])
    probability = table[[column_name(name) for name in report["model"]["diagnoses"]]].to_numpy()
    named = np.array(report["model"]["diagnoses"])[probability.argmax(axis=1)]
    assert (named == table["diagnosis"]).sum() == figures["accuracy"]["numerator"]
    assert list(named) == list(table["predicted_diagnosis"])  # the checkpoint has no biases
    assert set(table["known"]) == {"new"}
    flow = report["participants"]
    assert flow["prepared"] == flow["in_other_splits"] + flow["evaluated"]
    assert flow["evaluated"] == len(test)
    answers = triage(checkpoint, list_images(str(Path(test["path"].iloc[0]).parents[1])), str(tmp_path / "triage"))
    triaged = pd.read_parquet(answers.predictions).set_index("path").loc[table["path"]]
    assert makers(str(tmp_path / "predictions.parquet"), answers.predictions) == {identify(find_checkpoint(checkpoint))}
    assert [tuple(words) for words in table["warnings"]] == [tuple(words) for words in triaged["warnings"]]
    is_melanoma = table["diagnosis"] == "melanoma"
    assert (table["decision"][is_melanoma] == "refer").sum() == figures["sensitivity"]["numerator"]
    page = (tmp_path / "report.html").read_text()
    assert "not a medical device" in page
    assert "Chosen at the end of training on 100 images of its validation split, and nowhere else." in page
    assert f"None of these {len(test)} images was recognised as known to the model" in page
    assert "synthetic" in page.lower()
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_a_dataset_of_another_image_size_is_refused(prepared: str, tmp_path: Path) -> None:
    other = build_checkpoint(str(tmp_path / "other"), side=96)
    with pytest.raises(DataError, match="prepare it with the same image settings"):
        evaluate(other, prepared, str(tmp_path / "report"), split="test")


def test_batch_prediction_is_the_predictor_s_answer_within_the_tolerance(
    checkpoint: str, collection: str, tmp_path: Path
) -> None:
    result = triage(checkpoint, list_images(collection), str(tmp_path))
    table = pd.read_parquet(result.predictions)
    assert list(table.columns) == [
        "image_id",
        "path",
        *map(column_name, DIAGNOSES),
        "melanoma_probability",
        "predicted_diagnosis",
        "prediction_set",
        "decision",
        "warnings",
        "error",
        "runtime",
        "copy_of",
    ]
    assert len(table) == 150
    predictor = Predictor.load(checkpoint, "cpu")
    for row in table[table["error"].isna()].head(20).to_dict("records"):
        expected = predictor.predict(predictor.decode(storage.read_bytes(row["path"]))[None])
        found = np.array([row[column_name(diagnosis)] for diagnosis in DIAGNOSES], np.float32)
        np.testing.assert_allclose(found, expected.probability[0], atol=TOLERANCE)
        assert row["runtime"] == predictor.scorer.runtime.name
        assert row["decision"] == expected.decision[0]
    unreadable = table[table["error"].notna()]
    assert len(unreadable) == result.num_unreadable == 3
    assert unreadable["melanoma_probability"].isna().all()
    worklist = Path(result.worklist).read_text()
    assert all(image_id in worklist for image_id in unreadable["image_id"])


def test_batch_prediction_hears_what_a_table_tells(collection: str, tmp_path: Path) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"), side=SIDE, uses_metadata=True)
    table = pd.read_csv(Path(collection) / "metadata.csv", dtype={"age": float})
    told, untold = (
        pd.read_parquet(triage(checkpoint, list_images(collection, metadata), str(tmp_path / name)).predictions)
        for name, metadata in (("told", [f"{collection}/metadata.csv"]), ("untold", []))
    )
    predictor = Predictor.load(checkpoint, "cpu")
    place = int(np.flatnonzero(told["error"].isna())[0])
    row = told.iloc[place]
    patient = encode_metadata(table[table["image_id"] == row["image_id"]])
    pixels = predictor.decode(storage.read_bytes(row["path"]))[None]
    with_patient, without = (predictor.predict(pixels, known).melanoma_probability[0] for known in (patient, None))
    assert row["melanoma_probability"] == pytest.approx(with_patient, abs=1e-5)
    assert untold["melanoma_probability"].iloc[place] == pytest.approx(without, abs=1e-5)
    assert abs(with_patient - without) > 1e-4
