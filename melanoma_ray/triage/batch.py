"""A folder of images in, predictions.parquet and worklist.html out.

predictions.parquet has one row an image: image_id, path, one ``probability_<diagnosis>`` column
each, melanoma_probability (calibrated), decision and error (none: the image was read).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy

from melanoma_ray import storage
from melanoma_ray.data.containers import read_encoded
from melanoma_ray.data.layouts import image_id_of, list_images
from melanoma_ray.data.scoring import num_actors
from melanoma_ray.data.tables import look_up_patients
from melanoma_ray.diagnoses import column_name
from melanoma_ray.errors import DecodeError
from melanoma_ray.model.checkpoint import find_checkpoint
from melanoma_ray.model.metadata import encode_metadata
from melanoma_ray.model.predictor import Predictor
from melanoma_ray.reports.thumbnails import thumbnail_data_uri
from melanoma_ray.reports.worklist import WorklistRow, render_worklist

_IMAGES_PER_BLOCK = 64
_MAX_WORKLIST = 500
"""Rows of the page: the most urgent; all of them stand in predictions.parquet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TriageResult:
    """What a folder came to."""

    predictions: str
    worklist: str
    num_by_decision: dict[str, int]
    num_unreadable: int


class _PredictingActor:
    """Holds one Predictor; reads, decodes and predicts."""

    def __init__(self, checkpoint: str, device: str) -> None:
        self.predictor = Predictor.load(checkpoint, device)

    def __call__(self, batch: pa.Table) -> pa.Table:
        paths = batch.column("path").to_pylist()
        squares, errors = zip(*(self._read(path) for path in paths), strict=True)
        good = [square for square in squares if square is not None]
        side = self.predictor.image.side
        metadata = encode_metadata(batch.select(["age", "sex", "site"]).to_pandas())
        predictions = self.predictor.predict(
            np.stack(good) if good else np.zeros((0, side, side, 3), np.uint8),
            metadata[[square is not None for square in squares]],
        )
        places = iter(range(len(good)))
        place = [None if square is None else next(places) for square in squares]
        take = pa.array(place, pa.int64())
        columns = {"image_id": pa.array([image_id_of(path) for path in paths]), "path": pa.array(paths)}
        for i, diagnosis in enumerate(self.predictor.manifest.diagnoses):
            columns[column_name(diagnosis)] = pa.array(predictions.probability[:, i], pa.float32()).take(take)
        columns["melanoma_probability"] = pa.array(predictions.melanoma_probability, pa.float32()).take(take)
        columns["decision"] = pa.array(list(predictions.decision), pa.string()).take(take)
        columns["error"] = pa.array(list(errors), pa.string())
        columns["thumbnail"] = pa.array(
            [None if square is None else thumbnail_data_uri(square) for square in squares], pa.string()
        )
        return pa.table(columns)

    def _read(self, path: str) -> tuple[np.ndarray | None, str | None]:
        try:
            return self.predictor.decode(read_encoded(path)), None
        except (DecodeError, OSError) as error:
            return None, str(error)


def triage(
    checkpoint: str, images: str, output: str, *, metadata: Sequence[str] = (), use_gpu: bool = False
) -> TriageResult:
    """Predict every image of a folder.

    Args:
        checkpoint: A checkpoint directory, a run's directory or a sweep's best.json.
        images: Folder, local or s3://; every image below it.
        output: Directory of predictions.parquet and worklist.html.
        metadata: CSV tables with age, sex and site, for a model that uses them.
        use_gpu: Predict on GPUs.

    Raises:
        CheckpointError: The checkpoint can't be used.
        DataError: No such folder, no image in it, or no such table.
    """
    uri = find_checkpoint(storage.absolute(checkpoint))
    predictor = Predictor.load(uri, "cpu")
    paths = list_images(storage.absolute(images))
    patients = look_up_patients(metadata, [image_id_of(path) for path in paths])
    schema = pa.schema([("path", pa.string()), ("age", pa.float64()), ("sex", pa.string()), ("site", pa.string())])
    asked = pa.Table.from_pandas(patients.assign(path=paths), schema, preserve_index=False)
    blocks = max(1, -(-len(paths) // _IMAGES_PER_BLOCK))
    predicted = ray.data.from_arrow(asked, override_num_blocks=blocks).map_batches(
        _PredictingActor,
        fn_constructor_args=(uri, "cuda" if use_gpu else "cpu"),
        batch_format="pyarrow",
        batch_size=_IMAGES_PER_BLOCK,
        compute=ActorPoolStrategy(min_size=1, max_size=num_actors(use_gpu=use_gpu)),
        num_cpus=1,
        num_gpus=1 if use_gpu else 0,
    )
    table = pa.concat_tables(predicted.iter_batches(batch_size=None, batch_format="pyarrow")).sort_by("path")
    target = storage.join(output, "predictions.parquet")
    storage.write_table(target, table.drop_columns(["thumbnail"]))
    page = render_worklist(
        _worklist_rows(table, predictor),
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
        num_by_decision={name: decisions.count(name) for name in sorted(set(decisions))},
        num_unreadable=table.num_rows - len(decisions),
    )


def _worklist_rows(table: pa.Table, predictor: Predictor) -> list[WorklistRow]:
    """Return the unreadable images and the most urgent others."""
    diagnoses = predictor.manifest.diagnoses
    rows = sorted(table.to_pylist(), key=_urgency)[:_MAX_WORKLIST]
    return [
        WorklistRow(
            image_id=row["image_id"],
            path=row["path"],
            melanoma_probability=row["melanoma_probability"],
            decision=row["decision"],
            top_diagnosis=None if row["error"] else max(diagnoses, key=lambda name: row[column_name(name)]),
            thumbnail=row["thumbnail"],
            error=row["error"],
        )
        for row in rows
    ]


def _urgency(row: dict[str, Any]) -> tuple[bool, float]:
    """Sort unreadable images first, routine ones last, and by probability in between."""
    return row["decision"] == "routine", -2.0 if row["error"] else -row["melanoma_probability"]
