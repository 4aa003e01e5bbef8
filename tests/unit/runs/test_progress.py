"""A progress directory is read again, also one that an earlier version wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from melanoma_ray.errors import DataError
from melanoma_ray.runs.history import EpochRecord, StepRecord
from melanoma_ray.runs.progress import PROGRESS, Progress, read_progress

RECORD = EpochRecord(
    epoch=1,
    step=10,
    train_loss=1.0,
    train_accuracy=0.5,
    val_loss=1.0,
    val_accuracy=0.5,
    val_balanced_accuracy=0.5,
    images_per_s=100.0,
    waiting_fraction=0.0,
    first_batch_s=0.0,
    ended_at=1_700_000_000.0,
)
PROGRESS_MADE = Progress(
    batch_index=12,
    step=10,
    tally=[1.5, 3.0],
    history=[RECORD],
    steps=[StepRecord(step=1, loss=2.0, learning_rate=0.1, ended_at=1_700_000_000.0)],
)


def test_progress_is_read_as_it_was_written(tmp_path: Path) -> None:
    PROGRESS_MADE.write(tmp_path)
    assert read_progress(str(tmp_path)) == PROGRESS_MADE


def test_progress_of_a_version_that_called_the_batch_index_a_slot_is_read(tmp_path: Path) -> None:
    PROGRESS_MADE.write(tmp_path)
    content = json.loads((tmp_path / PROGRESS).read_text())
    content["slot"] = content.pop("batch_index")
    (tmp_path / PROGRESS).write_text(json.dumps(content))
    assert read_progress(str(tmp_path)) == PROGRESS_MADE


def test_missing_or_damaged_progress_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"progress\.json: no such file"):
        read_progress(str(tmp_path))
    (tmp_path / PROGRESS).write_text('{"batch_index": 1')
    with pytest.raises(DataError, match=r"progress\.json: not JSON"):
        read_progress(str(tmp_path))


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"batch_index": 1, "step": 2, "tally": [], "history": [{"epoch": 1}], "steps": []}',
        '{"batch_index": 1, "step": 2, "tally": null, "history": [], "steps": []}',
        '{"batch_index": "many", "step": 2, "tally": [], "history": [], "steps": []}',
        '{"batch_index": 1, "step": 2, "tally": [], "history": [], "steps": [3]}',
    ],
)
def test_progress_that_lacks_a_part_or_has_a_wrong_one_is_one_line(tmp_path: Path, content: str) -> None:
    (tmp_path / PROGRESS).write_text(content)
    with pytest.raises(DataError, match=r"progress\.json") as caught:
        read_progress(str(tmp_path))
    assert "\n" not in str(caught.value)
