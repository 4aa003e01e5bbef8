"""Alerts about a batch: from its rows into the outbox, and from there to the sinks."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from melanoma_ray.alerts.actor import keep_on_cluster
from melanoma_ray.alerts.dispatcher import SendingResult, send_pending
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.rules import Alert, Answer, Origin, make_alerts
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.errors import DataError
from melanoma_ray.inference.predictions import column_name
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.patients import find_site
from melanoma_ray.sources.containers import read_encoded

_SEND_S = 120.0
"""Longest time that a batch waits for its sinks, seconds; what waits then is sent by the next sender."""
_OF_AN_ANSWER = ["path", "image_id", "melanoma_probability", "decision", "error"]
_OF_A_PATIENT = ["age", "sex", "site", "lesion_id", "patient_id"]


def raise_alerts(
    settings: AlertSettings, predictions: pa.Table, images: pd.DataFrame, predictor: Predictor, worklist: str
) -> SendingResult:
    """Keep the alerts about a batch in the outbox, send them, and return where all deliveries of the outbox stand.

    Called again for the same images it makes no alert twice.

    Args:
        settings: Rules, sinks and outbox.
        predictions: Columns of predictions.parquet.
        images: path, age, sex, site, lesion_id and patient_id of the same images.
        predictor: Who answered.
        worklist: Address of the worklist.

    Raises:
        AlertError: The alerts can't be kept.
    """
    origin = describe_origin(predictor, worklist, "batch")
    alerts = find_alerts(settings, predictions, images, predictor.manifest.diagnoses, origin, read_encoded)
    if settings.node_resource is not None:
        return keep_on_cluster(settings, alerts, timeout_s=_SEND_S)
    with Outbox(settings.outbox) as outbox:
        outbox.record(alerts)
    return send_pending(settings, timeout_s=_SEND_S)


def describe_origin(predictor: Predictor, worklist: str, source: Literal["batch", "watch"]) -> Origin:
    """Return who has answered, and what has asked: only a batch ranks its patients."""
    manifest = predictor.manifest
    return Origin(
        source=source,
        checkpoint_id=predictor.checkpoint_id,
        decision_threshold=manifest.calibration.decision_threshold,
        referred_for=manifest.referred_for,
        is_synthetic=manifest.is_synthetic,
        worklist=worklist,
    )


def find_alerts(
    settings: AlertSettings,
    predictions: pa.Table,
    images: pd.DataFrame,
    diagnoses: Sequence[str],
    origin: Origin,
    read: Callable[[str], bytes],
) -> list[Alert]:
    """Return the alerts about some images.

    Args:
        settings: Rules.
        predictions: Columns of predictions.parquet.
        images: path, age, sex, site, lesion_id and patient_id of the same images.
        diagnoses: Diagnoses of the model.
        origin: From ``describe_origin``.
        read: Returns the bytes of an image by its path; by them an alert is known when it is made again.
    """
    if not any(rule.top_patients for rule in settings.rules):  # a rank needs all patients
        predictions = _drop_routine(predictions)
        images = images[images["path"].isin(predictions.column("path").to_pylist())]
    answers = list(_read_answers(predictions, images, diagnoses))
    return make_alerts(settings, answers, origin, now=time.time(), fingerprint=partial(_fingerprint, read=read))


def _drop_routine(predictions: pa.Table) -> pa.Table:
    """Return the rows without those that no rule is for, which are most: routine, and with a probability in [0, 1]."""
    probability = predictions.column("melanoma_probability")
    is_usable = pc.and_(pc.greater_equal(probability, 0.0), pc.less_equal(probability, 1.0))  # NaN is neither
    is_routine = pc.and_(pc.equal(predictions.column("decision"), "routine"), is_usable)
    is_dropped = pc.and_(pc.fill_null(is_routine, fill_value=False), pc.is_null(predictions.column("error")))
    return predictions.filter(pc.invert(is_dropped))


def _read_answers(predictions: pa.Table, images: pd.DataFrame, diagnoses: Sequence[str]) -> Iterator[Answer]:
    names = {column_name(name): name for name in diagnoses}
    ages = pd.to_numeric(images["age"], errors="coerce")
    patients = images[_OF_A_PATIENT].assign(age=ages).to_dict("records")
    known = dict(zip(images["path"], patients, strict=True))
    for row in predictions.select([*_OF_AN_ANSWER, *names]).to_pylist():
        probabilities = {name: row[column] for column, name in names.items() if row[column] is not None}
        yield _build_answer(row, known.get(row["path"], {}), probabilities)


def _build_answer(row: Mapping[str, Any], of_patient: Mapping[Any, Any], probabilities: Mapping[str, float]) -> Answer:
    patient = {name: None if pd.isna(value) else value for name, value in of_patient.items()}
    age = patient.get("age")
    return Answer(
        **{name: row[name] for name in _OF_AN_ANSWER},
        probabilities=probabilities,
        patient_id=_text(patient.get("patient_id")),
        lesion_id=_text(patient.get("lesion_id")),
        age=None if age is None or not math.isfinite(age) else float(age),
        sex=_text(patient.get("sex")),
        site=find_site(patient["site"]) if patient.get("site") is not None else None,
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _fingerprint(answer: Answer, read: Callable[[str], bytes]) -> str:
    """Return text that is the same for the same bytes of the same patient.

    An archive may move an image, so its path is part of it only where bytes and patient don't tell it from others:
    where it can't be read, and where what is assessed is no lesion, since all black pictures are alike.
    """
    path, patient = str(answer.path), answer.patient_id
    try:
        content = hashlib.sha256(read(path)).hexdigest()
    except (DataError, OSError) as error:
        return f"{path} unreadable: {error}"
    is_known = answer.decision == "refer" or (answer.decision is not None and patient is not None)
    return f"{patient if is_known else path} {content}"
