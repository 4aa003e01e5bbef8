"""The files of answers: whole or not at all, each key once, and pictures that no memory has to hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.inference.predictions import predictions_schema
from melanoma_ray.triage.parts import Parts, make_keys

DIAGNOSES = ("melanoma", "nevus")


def build_answers(names: list[str], decision: str | None = "routine") -> pa.Table:
    schema = predictions_schema(DIAGNOSES)
    nothing = {field.name: pa.nulls(len(names), field.type) for field in schema}
    told = {"image_id": names, "path": names, "decision": pa.array([decision] * len(names), pa.string())}
    return pa.table({**nothing, **told}, schema=schema)


def build_images(**changes: object) -> pd.DataFrame:
    values: dict[str, object] = {
        "path": ["a"],
        "num_bytes": [3],
        "modified_ns": [5],
        "age": [None],
        "sex": [None],
        "site": [None],
    }
    return pd.DataFrame(values | changes)


def test_a_block_written_twice_is_there_once(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "0123", DIAGNOSES)
    assert parts.read_answers().num_rows == 0
    for _ in range(2):
        parts.write(["k1", "k2"], build_answers(["a", "b"]), [b"one", None])
    parts.write(["k2", "k3"], build_answers(["b", "c"]), [b"two", b"three"])
    assert sorted(parts.read_answers().column("key").to_pylist()) == ["k1", "k2", "k3"]
    with parts.open_pictures() as pictures:
        found = pictures.find(["k1", "k2", "k3", "k4"])
    assert sorted(found) == ["k1", "k2", "k3"]
    assert all(uri.startswith("data:image/jpeg;base64,") for uri in found.values())


def test_answers_stand_in_the_order_in_which_they_were_given(tmp_path: Path) -> None:
    """Of two versions of a file the later one counts, though the files of answers have names by chance."""
    parts = Parts(str(tmp_path), "0123", DIAGNOSES)
    for number in range(12):
        parts.write([f"k{number}"], build_answers(["a"], None if number % 3 == 0 else "refer"), [None])
    assert parts.read_answers().column("key").to_pylist() == [f"k{number}" for number in range(12)]


def test_an_image_that_could_be_read_at_another_try_has_the_answer_of_that_try(tmp_path: Path) -> None:
    for order in ((None, "refer"), ("refer", None)):
        parts = Parts(str(tmp_path / str(order[0])), "0123", DIAGNOSES)
        for number, decision in enumerate(order):
            parts.write(["k", f"other{number}"], build_answers(["a", "b"], decision), [None, None])
        rows = parts.read_answers().to_pylist()
        assert {row["decision"] for row in rows if row["key"] == "k"} == {"refer"}
        assert len(rows) == 3


def test_another_checkpoint_s_answers_are_none_of_these(tmp_path: Path) -> None:
    Parts(str(tmp_path), "0123", DIAGNOSES).write(["k"], build_answers(["a"]), [b"x"])
    assert Parts(str(tmp_path), "4567", DIAGNOSES).read_answers().num_rows == 0


def test_a_damaged_file_is_named_with_what_to_do(tmp_path: Path) -> None:
    parts = Parts(str(tmp_path), "0123", DIAGNOSES)
    parts.write(["k"], build_answers(["a"]), [b"x"])
    (file,) = Path(parts.uri).iterdir()
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=f"{file.name}: damaged .*; delete it, and its images are scored again"):
        parts.read_answers()


def test_a_key_changes_with_the_file_and_with_the_patient_only_where_that_counts() -> None:
    plain = make_keys(build_images(), uses_metadata=False)[0]
    assert plain == make_keys(build_images(age=[40]), uses_metadata=False)[0]
    assert plain == make_keys(build_images(age=[np.nan]), uses_metadata=False)[0]
    for change in ({"path": ["b"]}, {"num_bytes": [4]}, {"modified_ns": [6]}):
        assert plain != make_keys(build_images(**change), uses_metadata=False)[0]
    known = make_keys(build_images(age=[40.0]), uses_metadata=True)[0]
    assert known != make_keys(build_images(), uses_metadata=True)[0]
    assert (
        make_keys(build_images(), uses_metadata=True)[0] == make_keys(build_images(age=[np.nan]), uses_metadata=True)[0]
    )
