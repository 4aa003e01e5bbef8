"""Metadata tables, looked up by image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.patients import encode_metadata
from melanoma_ray.sources.tables import look_up_patients

UNKNOWN = {"age": None, "sex": None, "site": None}


def test_rows_of_a_table_are_looked_up_by_image(tmp_path: Path) -> None:
    table = tmp_path / "ham.csv"
    table.write_text("image_id,dx,age,sex,localization\nb,nv,45.0,Male,back\na,nv,,unknown,\n")
    found = look_up_patients([str(table)], ["a", "b", "c"])
    expected = pd.DataFrame([UNKNOWN, {"age": 45.0, "sex": "male", "site": "back"}, UNKNOWN])
    np.testing.assert_array_equal(encode_metadata(found), encode_metadata(expected))
    assert not encode_metadata(look_up_patients([], ["a", "b"])).any()
    with pytest.raises(DataError, match="not found"):
        look_up_patients([str(tmp_path / "none.csv")], ["a"])
