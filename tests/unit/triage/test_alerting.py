"""Alerts about a batch's rows: from its table and what is known of its patients to what sinks get."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from melanoma_ray.alerts.outbox import AlertStatus, Outbox
from melanoma_ray.alerts.settings import AlertSettings, FileSink, Rule
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.inference.predictions import column_name
from melanoma_ray.inference.predictor import NOT_FINITE, Predictor
from melanoma_ray.triage.alerting import raise_alerts
from tests.checkpoints import build_checkpoint

PREDICTIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("path", pa.string()),
        *((column_name(name), pa.float32()) for name in DIAGNOSES),
        ("melanoma_probability", pa.float32()),
        ("decision", pa.string()),
        ("error", pa.string()),
    ]
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    return Predictor.load(build_checkpoint(str(tmp_path_factory.mktemp("checkpoint"))), "cpu")


def build_settings(folder: Path, **changes: object) -> AlertSettings:
    rule = Rule(**{"name": "melanoma", "sinks": ("log",)} | changes)  # type: ignore[arg-type]
    log = FileSink(name="log", kind="file", path=str(folder / "log.jsonl"))
    return AlertSettings(outbox=str(folder / "outbox.db"), rules=(rule,), sinks=(log,))


def build_batch(folder: Path) -> tuple[pa.Table, pd.DataFrame]:
    """Return the rows of a batch of six images, and what tables tell of the patients, as they come: with gaps."""
    names = ["a", "b", "c", "d", "e", "f"]
    for name in names:
        (folder / f"{name}.jpg").write_bytes(name.encode())
    paths = [str(folder / f"{name}.jpg") for name in names]
    answers = [
        (0.9, "refer", None),
        (0.05, "routine", None),
        (0.04, "unassessable", None),
        (None, None, "truncated: after 12 bytes"),
        (float("nan"), "routine", None),
        (None, "unassessable", NOT_FINITE),
    ]
    shares = [[0.5, 0.5, 0.5, None, float("nan"), None]] * len(DIAGNOSES)
    columns = [names, paths, *shares, *(list(column) for column in zip(*answers, strict=True))]
    predictions = pa.Table.from_arrays(
        [pa.array(column, field.type, from_pandas=False) for column, field in zip(columns, PREDICTIONS, strict=True)],
        schema=PREDICTIONS,
    )
    images = pd.DataFrame(
        {
            "path": paths,
            "image_id": names,
            "age": pd.Series([71, None, "about 40", 20, None, 20], dtype=object),
            "sex": ["male", None, None, "female", None, None],
            "site": ["Lower_extremity", None, "torso", "wing", None, "back"],
            "lesion_id": [None] * 6,
            "patient_id": ["P1", "P1", None, float("nan"), "P2", "P3"],
        }
    )
    return predictions, images


def alerts_of(settings: AlertSettings) -> list[AlertStatus]:
    with Outbox(settings.outbox) as outbox:
        return outbox.statuses()


def test_every_answer_but_the_routine_one_is_told_and_confirmed(predictor: Predictor, tmp_path: Path) -> None:
    settings = build_settings(tmp_path)
    result = raise_alerts(settings, *build_batch(tmp_path), predictor, "worklist.html")
    assert (result.num_delivered, result.num_waiting, result.num_dead) == (5, 0, 0)
    told = {Path(one.images[0]).stem: one.body["reason"] for one in alerts_of(settings)}
    assert told == {"a": "refer", "c": "unassessable", "d": "unreadable", "e": "unusable", "f": "unusable"}
    sent = [json.loads(line)["data"]["alerts"][0] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert {one["checkpoint_id"] for one in sent} == {predictor.checkpoint_id}
    assert {one["worklist"] for one in sent} == {"worklist.html"}
    assert {one["is_synthetic"] for one in sent} == {True}
    assert [len(one["probabilities"]) for one in sent] == [0, 0, len(DIAGNOSES), len(DIAGNOSES), 0]


def test_with_ranks_the_same_is_told_as_without(predictor: Predictor, tmp_path: Path) -> None:
    """Without them routine rows are left out before anything else; with them they can't be."""
    for ranks, of_first in ((0, 1), (1, 2)):  # the first patient's other image is routine
        settings = build_settings(tmp_path / str(ranks), top_patients=ranks)
        raise_alerts(settings, *build_batch(tmp_path), predictor, "worklist.html")
        told = {Path(one.images[0]).stem: (one.body["reason"], one.body["num_images"]) for one in alerts_of(settings)}
        assert told == {
            "a": ("refer", of_first),
            "c": ("unassessable", 1),
            "d": ("unreadable", 1),
            "e": ("unusable", 1),
            "f": ("unusable", 1),
        }


def test_run_again_a_batch_makes_no_alert_twice_but_a_changed_image_makes_one(
    predictor: Predictor, tmp_path: Path
) -> None:
    settings = build_settings(tmp_path)
    batch = build_batch(tmp_path)
    for _ in range(2):
        raise_alerts(settings, *batch, predictor, "worklist.html")
    assert len(alerts_of(settings)) == 5
    (tmp_path / "a.jpg").write_bytes(b"another picture under the same name")
    raise_alerts(settings, *batch, predictor, "worklist.html")
    assert len(alerts_of(settings)) == 6


def test_images_that_were_moved_are_told_again_only_where_nothing_else_tells_them_apart(
    predictor: Predictor, tmp_path: Path
) -> None:
    """Of a referred lesion, and of a known patient, the content tells; of what is no lesion only the place does."""
    settings = build_settings(tmp_path)
    predictions, images = build_batch(tmp_path)
    raise_alerts(settings, predictions, images, predictor, "worklist.html")
    (tmp_path / "done").mkdir()
    moved = [str(tmp_path / "done" / Path(path).name) for path in images["path"]]
    for before, after in zip(images["path"], moved, strict=True):
        Path(before).rename(after)
    names = predictions.schema.names
    again = predictions.set_column(names.index("path"), "path", pa.array(moved, pa.string()))
    raise_alerts(settings, again, images.assign(path=moved), predictor, "worklist.html")
    told = sorted(Path(one.images[0]).stem for one in alerts_of(settings))
    assert told == ["a", "c", "c", "d", "d", "e", "f"]


def test_copies_of_one_referred_image_make_one_alert(predictor: Predictor, tmp_path: Path) -> None:
    settings = build_settings(tmp_path)
    predictions, images = build_batch(tmp_path)
    again = str(tmp_path / "copy.jpg")
    Path(again).write_bytes(Path(images["path"][0]).read_bytes())
    row = predictions.slice(0, 1)
    row = row.set_column(row.schema.names.index("path"), "path", pa.array([again], pa.string()))
    known = pd.concat([images, images.head(1).assign(path=again)], ignore_index=True).assign(patient_id=None)
    raise_alerts(settings, pa.concat_tables([predictions, row]), known, predictor, "worklist.html")
    referred = [one for one in alerts_of(settings) if one.body["reason"] == "refer"]
    assert len(referred) == 1


def test_a_table_s_own_words_for_age_and_site_count(predictor: Predictor, tmp_path: Path) -> None:
    settings = build_settings(tmp_path, min_age=70, sites=("lower extremity",), unknown="differs")
    raise_alerts(settings, *build_batch(tmp_path), predictor, "worklist.html")
    told = {Path(one.images[0]).stem: one.body["reason"] for one in alerts_of(settings)}
    assert told == {"a": "refer", "e": "unusable", "f": "unusable"}


def test_an_image_that_is_gone_meanwhile_is_told_all_the_same(predictor: Predictor, tmp_path: Path) -> None:
    settings = build_settings(tmp_path)
    batch = build_batch(tmp_path)
    (tmp_path / "a.jpg").unlink()
    raise_alerts(settings, *batch, predictor, "worklist.html")
    assert len(alerts_of(settings)) == 5
