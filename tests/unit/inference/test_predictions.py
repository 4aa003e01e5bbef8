"""predictions.parquet: an answer for each image that could be read, and a reason for each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest

from melanoma_ray.api import Decision
from melanoma_ray.inference.predictions import predictions_schema, tabulate_predictions
from melanoma_ray.inference.predictor import Predictions

DIAGNOSES = ("basal cell carcinoma", "melanoma")
ANSWERS = ["probability_basal_cell_carcinoma", "probability_melanoma", "melanoma_probability", "decision"]


def predict(*melanoma_probability: float, decision: Sequence[Decision] = ()) -> Predictions:
    melanoma = np.array(melanoma_probability, np.float32)
    probability = np.stack([1 - melanoma, melanoma], axis=1)
    return Predictions(
        probability=probability,
        melanoma_probability=melanoma,
        diagnosis=np.where(np.isnan(melanoma), -1, (melanoma > 0.5).astype(int)),
        decision=tuple(decision),
    )


def tabulate(predictions: Predictions, errors: Sequence[str | None] | None, num_images: int) -> pa.Table:
    names = [f"image{i}" for i in range(num_images)]
    table = tabulate_predictions(names, [f"{name}.jpg" for name in names], predictions, DIAGNOSES, errors)
    assert table.schema == predictions_schema(DIAGNOSES)
    assert table["path"].to_pylist() == [f"{name}.jpg" for name in names]
    return table


def test_every_image_has_its_answer_where_all_could_be_read() -> None:
    table = tabulate(predict(0.25, 0.75, decision=["routine", "refer"]), None, 2)
    assert table.select(ANSWERS).to_pylist() == [
        dict(zip(ANSWERS, (0.75, 0.25, 0.25, "routine"), strict=True)),
        dict(zip(ANSWERS, (0.25, 0.75, 0.75, "refer"), strict=True)),
    ]
    assert table["error"].null_count == 2


@pytest.mark.parametrize("first_is_read", [True, False])
def test_an_image_with_an_error_has_no_answer_and_the_others_have_their_own(*, first_is_read: bool) -> None:
    """Also where the last image, or the first, is one that couldn't be read."""
    errors = [None, "empty", None, "truncated"] if first_is_read else ["empty", None, "truncated", None]
    table = tabulate(predict(0.25, 0.75, decision=["routine", "refer"]), errors, 4)
    expected = [None if error else (0.25, 0.75)[place // 2] for place, error in enumerate(errors)]
    assert table["melanoma_probability"].to_pylist() == expected
    assert table["probability_melanoma"].to_pylist() == expected
    assert table["decision"].to_pylist() == [
        {None: None, 0.25: "routine", 0.75: "refer"}[probability] for probability in expected
    ]
    assert table["error"].to_pylist() == errors


def test_where_nothing_could_be_read_there_are_reasons_alone() -> None:
    table = tabulate(predict(), ["empty", "truncated"], 2)
    assert all(table[name].null_count == 2 for name in ANSWERS)
    assert table["error"].to_pylist() == ["empty", "truncated"]


def test_no_image_is_a_table_without_rows() -> None:
    assert tabulate(predict(), None, 0).num_rows == 0
    assert tabulate(predict(), [], 0).num_rows == 0
