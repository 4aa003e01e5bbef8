"""predictions.parquet: one row for each image, written by batch triage and by evaluation.

image_id, path                    which image it is
probability_<diagnosis> …         calibrated probability of each diagnosis, spaces as underscores; their sum is 1
melanoma_probability              probability that is compared with the threshold
predicted_diagnosis               diagnosis that the model answers
prediction_set                    diagnoses that it may have, with the coverage in the manifest; null: no answer, or a
                                  checkpoint that is older than prediction sets
decision                          refer, routine or unassessable; null: the image couldn't be read
warnings                          what is wrong with the image itself; null: the image couldn't be read
error                             reason why there is no answer, so that all figures are null; null: there is one
runtime                           what computed the networks, such as OpenVINO fp32; null: the image couldn't be read

The id of the checkpoint is in the metadata of the file's schema.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from melanoma_ray import storage
from melanoma_ray.inference.predictor import NOT_FINITE, Predictions

PREDICTIONS = "predictions.parquet"
_CHECKPOINT = b"melanoma_ray.checkpoint_id"


def column_name(diagnosis: str) -> str:
    """Return the name of the column with a diagnosis's probability.

    >>> column_name("basal cell carcinoma")
    'probability_basal_cell_carcinoma'
    """
    return "probability_" + diagnosis.replace(" ", "_")


def predictions_schema(diagnoses: Sequence[str]) -> pa.Schema:
    """Return the schema of the predictions of a model with these diagnoses."""
    return pa.schema(
        [
            ("image_id", pa.string()),
            ("path", pa.string()),
            *((column_name(diagnosis), pa.float32()) for diagnosis in diagnoses),
            ("melanoma_probability", pa.float32()),
            ("predicted_diagnosis", pa.string()),
            ("prediction_set", pa.list_(pa.string())),
            ("decision", pa.string()),
            ("warnings", pa.list_(pa.string())),
            ("error", pa.string()),
            ("runtime", pa.string()),
        ]
    )


def tabulate_predictions(
    image_ids: Sequence[str],
    paths: Sequence[str],
    predictions: Predictions,
    diagnoses: Sequence[str],
    errors: Sequence[str | None] | None = None,
) -> pa.Table:
    """Return the table of predictions for some images.

    Args:
        image_ids: Id of each image.
        paths: Path of each image.
        predictions: Predictions for the images that could be read, in the same order.
        diagnoses: Diagnoses of the model, in the order of its outputs.
        errors: For each image, the reason why it couldn't be read, or none; none: all images were read.
    """
    read_errors = [None] * len(image_ids) if errors is None else errors
    is_read = np.array([error is None for error in read_errors], bool)
    # Row of each image in ``predictions``, null for one that has none or no answer: ``take`` then returns null as well.
    place = np.where(is_read, np.cumsum(is_read) - 1, 0)
    is_answered = is_read.copy()
    is_answered[is_read] = predictions.is_answered
    answered, read = pa.array(place, mask=~is_answered), pa.array(place, mask=~is_read)
    answers = [*predictions.probability.T, predictions.melanoma_probability]
    names = pa.array([diagnoses[number] if number >= 0 else None for number in predictions.diagnosis], pa.string())
    reasons = [error or (None if known else NOT_FINITE) for error, known in zip(read_errors, is_answered, strict=True)]
    columns = [
        pa.array(image_ids, pa.string()),
        pa.array(paths, pa.string()),
        *(pa.array(answer, pa.float32()).take(answered) for answer in answers),
        names.take(answered),
        pa.array(predictions.name_sets(diagnoses), pa.list_(pa.string())).take(answered),
        pa.array(predictions.decision, pa.string()).take(read),
        pa.array(predictions.warnings or [None] * len(predictions), pa.list_(pa.string())).take(read),
        pa.array(reasons, pa.string()),
        pa.array([predictions.runtime] * len(predictions), pa.string()).take(read),
    ]
    return pa.Table.from_arrays(columns, schema=predictions_schema(diagnoses))


def write_predictions(uri: str, table: pa.Table, checkpoint_id: str) -> None:
    """Write predictions.parquet with the id of the checkpoint that made all of it.

    Args:
        uri: The file.
        table: Its columns.
        checkpoint_id: Id of the checkpoint.

    Raises:
        StorageError: It can't be written.
    """
    metadata = {**(table.schema.metadata or {}), _CHECKPOINT: checkpoint_id.encode()}
    storage.write_table(uri, table.replace_schema_metadata(metadata))


def find_checkpoint_id(table: pa.Table) -> str | None:
    """Return the id of the checkpoint that made a table of predictions; none: an earlier version didn't write it."""
    found = (table.schema.metadata or {}).get(_CHECKPOINT)
    return None if found is None else found.decode()
