"""predictions.parquet: one row an image, written alike by batch triage and by evaluation.

image_id, path                    who it is
probability_<diagnosis> …         calibrated, one column a diagnosis, spaces as underscores; together 1
melanoma_probability              the one that is compared with the threshold
decision                          refer, routine or unassessable
error                             why the image couldn't be read (its answers are null then); null: it was read
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from melanoma_ray.inference.predictor import Predictions

PREDICTIONS = "predictions.parquet"


def column_name(diagnosis: str) -> str:
    """Return the column of a diagnosis.

    >>> column_name("basal cell carcinoma")
    'probability_basal_cell_carcinoma'
    """
    return "probability_" + diagnosis.replace(" ", "_")


def predictions_schema(diagnoses: Sequence[str]) -> pa.Schema:
    """Return the columns for a model of these diagnoses."""
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
    """Return the table of some images.

    Args:
        image_ids: Of all images.
        paths: Of all images.
        predictions: Of the images that could be read, in the same order.
        diagnoses: Of the model, in the order of its outputs.
        errors: Of all images: why one couldn't be read; none: all could.
    """
    errors = [None] * len(image_ids) if errors is None else errors
    is_read = np.array([error is None for error in errors], bool)
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
