"""A folder of images in, predictions.parquet (``inference/predictions.py``) and worklist.html out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import ray.data

from melanoma_ray import storage
from melanoma_ray.alerts.dispatcher import SendingResult
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.api import Decision
from melanoma_ray.errors import DecodeError
from melanoma_ray.inference.pool import map_with_actors
from melanoma_ray.inference.predictions import PREDICTIONS, tabulate_predictions
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.patients import encode_metadata
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import WorklistRow, render_worklist
from melanoma_ray.sources.containers import read_encoded
from melanoma_ray.sources.unlabelled import ImageList
from melanoma_ray.triage.alerting import raise_alerts

_IMAGES_PER_BLOCK = 64
_MAX_WORKLIST = 500
"""Largest number of rows of the page, the most urgent ones; predictions.parquet has all of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageResult:
    """The results for a folder."""

    predictions: str
    """Address of predictions.parquet."""
    worklist: str
    """Address of worklist.html."""
    num_by_decision: dict[Decision, int]
    """Number of images by decision."""
    num_unreadable: int
    passed_over: dict[str, int]
    """Number of files of the folder that aren't read as images, by reason."""
    notes: tuple[str, ...]
    """Where the tables don't fit the images, one sentence each."""
    alerts: SendingResult | None
    """Where all deliveries of the outbox stand; none: no alerts were asked for."""


class _PredictingActor:
    """Reads, decodes and predicts images with a predictor that it loads once."""

    def __init__(self, checkpoint: str) -> None:
        self.predictor = Predictor.load(checkpoint)
        cv2.setNumThreads(1)  # by default OpenCV uses all CPUs of the machine, whatever Ray assigned

    def __call__(self, batch: pa.Table) -> pa.Table:
        paths = batch.column("path").to_pylist()
        crops, errors = zip(*(self._read(path) for path in paths), strict=True)
        good = [crop for crop in crops if crop is not None]
        side = self.predictor.image.side
        metadata = encode_metadata(batch.select(["age", "sex", "site"]).to_pandas())
        predictions = self.predictor.predict(
            np.stack(good) if good else np.zeros((0, side, side, 3), np.uint8),
            metadata[[crop is not None for crop in crops]],
        )
        answers = tabulate_predictions(
            batch.column("image_id").to_pylist(), paths, predictions, self.predictor.manifest.diagnoses, errors
        )
        thumbnails = [None if crop is None else thumbnail_data_uri(crop) for crop in crops]
        return answers.append_column("thumbnail", pa.array(thumbnails, pa.string()))

    def _read(self, path: str) -> tuple[np.ndarray | None, str | None]:
        try:
            return self.predictor.decode(read_encoded(path)), None
        except (DecodeError, OSError) as error:
            return None, str(error)


def triage(
    checkpoint: str,
    images: ImageList,
    output: str,
    *,
    use_gpu: bool = False,
    alerts: AlertSettings | None = None,
) -> TriageResult:
    """Predict every image of a folder; write predictions.parquet and worklist.html.

    Args:
        checkpoint: Checkpoint directory, run directory or a sweep's best.json.
        images: From ``list_images``, with age, sex and site for a model that uses them.
        output: Directory for predictions.parquet and worklist.html.
        use_gpu: Predict on GPUs instead of CPUs.
        alerts: Whom to alert about which answers; none: nobody.

    Raises:
        AlertError: The alerts can't be kept; predictions.parquet and worklist.html are written before.
        CheckpointError: The checkpoint can't be used.
    """
    uri = find_checkpoint(storage.absolute(checkpoint))
    predictor = Predictor.load(uri, "cpu", runtime="reference")
    table = _predict(uri, images, use_gpu=use_gpu)
    target = storage.join(output, PREDICTIONS)
    storage.write_table(target, table.drop_columns(["thumbnail"]))
    page = render_worklist(
        _worklist_rows(table),
        title="Worklist",
        is_synthetic=predictor.manifest.is_synthetic,
        decision_threshold=predictor.manifest.calibration.decision_threshold,
    )
    worklist = storage.join(output, "worklist.html")
    storage.write_bytes(worklist, page.encode())
    decisions = [decision for decision in table.column("decision").to_pylist() if decision]
    return TriageResult(
        predictions=target,
        worklist=worklist,
        num_by_decision={decision: decisions.count(decision) for decision in sorted(set(decisions))},
        num_unreadable=table.num_rows - len(decisions),
        passed_over=images.passed_over,
        notes=images.notes,
        alerts=None if alerts is None else raise_alerts(alerts, table, images.images, predictor, worklist),
    )


def _predict(checkpoint: str, images: ImageList, *, use_gpu: bool) -> pa.Table:
    """Return the answers for the images, with thumbnails, sorted by path."""
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("image_id", pa.string()),
            ("age", pa.float64()),
            ("sex", pa.string()),
            ("site", pa.string()),
        ]
    )
    asked = pa.Table.from_pandas(images.images[schema.names], schema, preserve_index=False).combine_chunks()
    blocks = [asked.slice(start, _IMAGES_PER_BLOCK) for start in range(0, asked.num_rows, _IMAGES_PER_BLOCK)]
    return map_with_actors(
        ray.data.from_blocks(blocks),
        _PredictingActor,
        {"checkpoint": checkpoint},
        batch_size=_IMAGES_PER_BLOCK,
        use_gpu=use_gpu,
    ).sort_by("path")


def _worklist_rows(table: pa.Table) -> list[WorklistRow]:
    """Return the rows of the page: unreadable images and the most urgent others."""
    rows = sorted(table.to_pylist(), key=_urgency)[:_MAX_WORKLIST]
    return [
        WorklistRow(
            image_id=row["image_id"],
            path=row["path"],
            melanoma_probability=row["melanoma_probability"],
            decision=row["decision"],
            top_diagnosis=row["predicted_diagnosis"],
            thumbnail=row["thumbnail"],
            error=row["error"],
            warnings=row["warnings"] or (),
        )
        for row in rows
    ]


def _urgency(row: dict[str, Any]) -> tuple[bool, float]:
    """Return the sort key: unreadable images first, routine ones last, and within each by falling probability."""
    return row["decision"] == "routine", -2.0 if row["error"] else -row["melanoma_probability"]
