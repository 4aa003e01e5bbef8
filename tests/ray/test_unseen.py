"""A set of train, val, test and fresh images: each number is told exactly, and what the model knows isn't praised."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest

from jobs.formatting import describe_report
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.documents.report import Options, evaluate
from melanoma_ray.errors import ConfigError, DataError
from melanoma_ray.evaluation.external import prepare_images
from melanoma_ray.model.checkpoint import read_manifest
from melanoma_ray.model.known import tabulate_known
from melanoma_ray.sources.layouts import read_collection
from melanoma_ray.synthetic.plan import draw_lesion
from tests.checkpoints import build_checkpoint
from tests.conftest import SIDE

NUM = {"train": 5, "val": 4, "test": 3}
NUM_FRESH = 6


@pytest.fixture(scope="module")
def checkpoint(prepared: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    known = tabulate_known(open_dataset(prepared).index, over_folds=False)
    return build_checkpoint(str(tmp_path_factory.mktemp("knowing")), side=SIDE, known=known)


@pytest.fixture(scope="module")
def mixture(prepared: str, checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Smaller JPEG copies of a few images of each split, under other names and without ids, beside fresh ones."""
    folder = tmp_path_factory.mktemp("mixture")
    dataset = open_dataset(prepared)
    for split, number in NUM.items():
        alone = dataset.index[dataset.index["split"] == split].drop_duplicates("group_id")
        for place, image in enumerate(alone.iloc[:number].itertuples()):
            original = np.asarray(cv2.imread(str(image.path)), np.uint8)
            pixels = np.asarray(cv2.resize(original, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA), np.uint8)
            save(folder / str(image.diagnosis) / f"{split}{place}.jpg", pixels)
    for seed in range(NUM_FRESH):
        diagnosis = ("melanoma", "nevus")[seed % 2]
        pixels = draw_lesion(diagnosis=diagnosis, lesion_seed=90_000 + seed, view_seed=seed)
        save(folder / diagnosis / f"fresh{seed}.jpg", pixels[:, :, ::-1])
    output = str(tmp_path_factory.mktemp("prepared-mixture") / "data")
    return prepare_images(read_collection(str(folder)), output, read_manifest(checkpoint))


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), pixels, [cv2.IMWRITE_JPEG_QUALITY, 85])


def test_a_mixture_is_refused_with_its_numbers(checkpoint: str, mixture: PreparedDataset, tmp_path: Path) -> None:
    message = r"the model knows 9 of these 18 images: it learnt from 5 and was calibrated on 4 \(recognised by: 9 near"
    with pytest.raises(ConfigError, match=message):
        evaluate(checkpoint, mixture.uri, str(tmp_path), split="test")
    assert not list(tmp_path.iterdir())


def test_known_images_are_left_out_and_counted(checkpoint: str, mixture: PreparedDataset, tmp_path: Path) -> None:
    options = Options(known_images="leave-out", statements={"18a": "Nobody paid for it."})
    report = evaluate(checkpoint, mixture.uri, str(tmp_path), split="test", options=options)
    assert report["figures"]["num_images"] == NUM["test"] + NUM_FRESH
    known = report["known_images"]
    assert describe_report(report, str(tmp_path)).splitlines()[0] == (
        f"whole collection {mixture.uri}: 9 images (95 % interval; * too few to say)"
    )
    assert {name: known[name] for name in ("learnt", "calibrated", "held_out", "new")} == {
        "learnt": 0,
        "calibrated": 0,
        "held_out": NUM["test"],
        "new": NUM_FRESH,
    }
    assert known["left_out"] == {"near copy": 9}
    assert report["participants"]["known_and_left_out"] == 9
    page = (tmp_path / "report.html").read_text()
    card = (tmp_path / "model_card.md").read_text()
    assert "None of these 9 images was recognised as known to the model" in page
    assert "| Were they new to it? | None of these 9 images was recognised" in card
    assert "| 18a | Funding | Nobody paid for it. |" in card
    numbers = re.findall(r"^\| (\d+[a-g]?) \|", card, re.MULTILINE)
    assert {int(re.sub("[a-g]", "", number)) for number in numbers} == set(range(1, 28))
    tripod, stard, claim = card.split("\n## ")[1:]
    assert f"{tripod.count('| Not done. |')} of {len(numbers)} parts are not done" in tripod
    assert f"{stard.count('| Not done. |')} of 48 parts are not done" in stard
    assert "| STARD-AI 38 | Funding | Nobody paid for it. |" in stard  # as TRIPOD+AI's 18a
    assert f"| STARD-AI 30 | The model's results by those of the reference | {describe_decisions(report)} |" in stard
    assert "| CLAIM 27 | Ensemble | A single network. |" in claim
    assert "9 images that the model knows were left out (9 near copy)" in page
    table = pd.read_parquet(tmp_path / "predictions.parquet")
    assert not table["image_id"].str.startswith(("train", "val")).any()


def describe_decisions(report: dict[str, Any]) -> str:
    """Return the cross-tabulation of decisions and diagnoses in the report's own figures."""
    by = report["figures"]["referral"]["by_decision"]
    told = [f"{one}: {', '.join(f'{name} {n}' for name, n in counts.items())}" for one, counts in by.items() if counts]
    return "; ".join(told)


def test_known_images_that_count_are_told_in_bold_beside_the_figures_of_the_others(
    checkpoint: str, mixture: PreparedDataset, tmp_path: Path
) -> None:
    report = evaluate(checkpoint, mixture.uri, str(tmp_path), split="test", options=Options(known_images="count"))
    assert report["figures"]["num_images"] == 18
    assert report["figures_of_unseen_images"]["num_images"] == NUM["test"] + NUM_FRESH
    page = (tmp_path / "report.html").read_text()
    assert "<strong>The model knows 9 of these 18 images: it learnt from 5 (or from" in page
    assert "was recognised as known" not in page
    table = pd.read_parquet(tmp_path / "predictions.parquet").set_index("image_id")
    expected = {"train": "learnt", "val": "calibrated", "test": "held_out", "fresh": "new"}
    for image_id, known in table["known"].items():
        assert known == expected[str(image_id).rstrip("0123456789")]


@pytest.mark.parametrize(("split", "message"), [("train", "it learnt from"), ("val", None), ("test", None)])
def test_the_splits_of_the_training_are_what_they_were(
    checkpoint: str, prepared: str, tmp_path: Path, split: str, message: str | None
) -> None:
    if message is not None:
        with pytest.raises(ConfigError, match=message):
            evaluate(checkpoint, prepared, str(tmp_path), split="train")
        return
    report = evaluate(checkpoint, prepared, str(tmp_path), split="val" if split == "val" else "test")
    number = len(open_dataset(prepared).split("val" if split == "val" else "test"))
    assert report["known_images"]["calibrated" if split == "val" else "held_out"] == number
    assert ("was calibrated on" in (tmp_path / "report.html").read_text()) == (split == "val")


def test_where_the_model_knows_everything_there_is_nothing_to_say(
    checkpoint: str, prepared: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="so none is left to evaluate it on"):
        evaluate(checkpoint, prepared, str(tmp_path), split="train", options=Options(known_images="leave-out"))


def test_another_model_is_compared_on_the_same_images_and_an_earlier_report_stands_beside(
    checkpoint: str, mixture: PreparedDataset, prepared: str, tmp_path: Path
) -> None:
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE, network="tf_efficientnet_lite0")
    evaluate(checkpoint, prepared, str(tmp_path / "own"), split="test")
    beside = str(tmp_path / "own" / "report.json")
    options = Options(known_images="leave-out", compare=other, beside=beside)
    report = evaluate(checkpoint, mixture.uri, str(tmp_path / "here"), split="test", options=options)
    alone = evaluate(other, mixture.uri, str(tmp_path / "alone"), split="test", options=Options(known_images="count"))
    table, theirs = (
        pd.read_parquet(tmp_path / name / "predictions.parquet").set_index("path") for name in ("here", "alone")
    )
    theirs = theirs.loc[table.index]
    comparison = report["comparison"]
    assert comparison["num_images"] == len(table) == NUM["test"] + NUM_FRESH
    assert comparison["other"]["checkpoint_id"] == alone["model"]["checkpoint_id"]
    changed = (table["decision"] == "refer") != (theirs["decision"] == "refer")
    assert comparison["num_changed"] == changed.sum()
    right = [(one["predicted_diagnosis"] == one["diagnosis"]).mean() for one in (theirs, table)]
    assert [comparison["accuracy"]["first"], comparison["accuracy"]["second"]] == pytest.approx(right)
    drop = report["beside"]["drop"]["accuracy"]
    own = report["beside"]["estimates"]["accuracy"]["value"]
    assert drop["value"] == pytest.approx(own - report["figures"]["accuracy"]["value"])
    assert drop["low"] < drop["value"] < drop["high"]
    page = (tmp_path / "here" / "report.html").read_text()
    assert comparison["right"]["p_value"] == comparison["accuracy"]["p_value"]
    section = page.split('id="comparison"')[1].split("</section>")[0]
    rows = section.split("<tbody>")[1].count("<tr>")
    assert rows == section.count(">McNemar<") + section.count(">DeLong<") == 4
    assert "p = " not in section
    assert f"images, test split of {prepared}." in page
    assert "Compared with checkpoint" in page
    assert "Beside an earlier report of this model" in page


def test_an_earlier_report_of_another_checkpoint_is_refused(checkpoint: str, prepared: str, tmp_path: Path) -> None:
    other = build_checkpoint(str(tmp_path / "other"), side=SIDE, uses_metadata=True)
    evaluate(other, prepared, str(tmp_path / "own"), split="test")
    options = Options(beside=str(tmp_path / "own" / "report.json"))
    with pytest.raises(DataError, match="give a report of the same checkpoint"):
        evaluate(checkpoint, prepared, str(tmp_path / "here"), split="test", options=options)
