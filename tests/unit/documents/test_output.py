"""A report replaces a report of ours, says which, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from melanoma_ray.documents.output import check_output
from melanoma_ray.errors import DataError

REPORT = {"model": {"checkpoint_id": "abc"}, "figures": {"num_images": 1200}, "data": "/data/old"}


def test_a_new_directory_and_one_with_other_files_replace_nothing(tmp_path: Path) -> None:
    assert check_output(str(tmp_path / "new")) is None
    (tmp_path / "notes.txt").write_text("mine")
    assert check_output(str(tmp_path)) is None


def test_an_earlier_report_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(json.dumps(REPORT))
    (tmp_path / "report.html").write_text("page")
    assert check_output(str(tmp_path)) == "replaced: the report of checkpoint abc on 1,200 images of /data/old"


@pytest.mark.parametrize("content", ["[]", "no json", '{"figures": {}}', '{"model": 3}'])
def test_a_report_json_of_somebody_else_s_is_kept(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match=r"not a report of jobs\.evaluate, and would be overwritten"):
        check_output(str(tmp_path))


@pytest.mark.parametrize("name", ["report.html", "model_card.md", "predictions.parquet"])
def test_a_file_of_the_same_name_without_a_report_beside_it_is_kept(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    with pytest.raises(DataError, match=f"has a {name} and no report.json beside it"):
        check_output(str(tmp_path))
