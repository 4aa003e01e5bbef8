"""predictions.parquet: one row for each image, written by batch triage and by evaluation.

image_id, path                    which image it is
probability_<diagnosis> …         calibrated probability of each diagnosis, spaces as underscores; their sum is 1
melanoma_probability              probability that is compared with the threshold
decision                          refer, routine or unassessable
error                             reason why the image couldn't be read, so that all figures are null; null: it was read
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from melanoma_ray.inference.predictor import Predictions

PREDICTIONS = "predictions.parquet"


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
            ("decision", pa.string()),
            ("error", pa.string()),
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
    errors = [None] * len(image_ids) if errors is None else errors
    is_read = np.array([error is None for error in errors], bool)
    # Row of each image in ``predictions``, null for an unreadable one: ``take`` then returns null as well.
    row = pa.array(np.where(is_read, np.cumsum(is_read) - 1, 0), mask=~is_read)
    answers = [*predictions.probability.T, predictions.melanoma_probability]
    columns = [
        pa.array(image_ids, pa.string()),
        pa.array(paths, pa.string()),
        *(pa.array(answer, pa.float32()).take(row) for answer in answers),
        pa.array(predictions.decision, pa.string()).take(row),
        pa.array(errors, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=predictions_schema(diagnoses))
