"""A report replaces a report of ours, says which, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from melanoma_ray.documents.output import check_output
from melanoma_ray.errors import DataError
from melanoma_ray.reports.evaluation import EvaluationPage, Section, render_evaluation

SUMMARY = Section(anchor="summary", title="In short")
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


OURS = {
    "report.html": b'<head><meta name="generator" content="melanoma_ray">',
    "model_card.md": b"# Model card\n\n",
    "predictions.parquet": b"PAR1 content_sha256",
}


@pytest.mark.parametrize("number", [1, 2, 3])
def test_an_evaluation_that_was_ended_between_its_files_is_done_again(tmp_path: Path, number: int) -> None:
    for name in list(OURS)[:number]:
        (tmp_path / name).write_bytes(OURS[name])
    assert check_output(str(tmp_path)) == "replaced: what an evaluation left that was ended before it was done"


def test_a_file_of_somebody_else_s_beside_what_was_left_is_kept(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_bytes(OURS["report.html"])
    (tmp_path / "model_card.md").write_text("# My own card\n")
    with pytest.raises(DataError, match=r"has a model_card\.md and no report\.json"):
        check_output(str(tmp_path))
    (tmp_path / "model_card.md").unlink()
    (tmp_path / "predictions.parquet").write_bytes(OURS["predictions.parquet"])
    with pytest.raises(DataError, match=r"no report\.json beside it"):
        check_output(str(tmp_path))


def test_the_page_has_the_sign_of_ours() -> None:
    page = EvaluationPage(
        title="", is_synthetic=False, referred_for="Melanoma", summary=SUMMARY, sections=[], galleries=[]
    )
    assert OURS["report.html"].removeprefix(b"<head>") in render_evaluation(page).encode()
