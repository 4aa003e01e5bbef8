"""The demo's output: a line a step, and what the jobs print in a file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from jobs.steps import Steps


def talk() -> int:
    print("a table of the job")
    print("a warning of the job", file=sys.stderr)
    return 3


def test_a_step_is_one_line_with_its_time_and_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(tmp_path / "demo" / "jobs.log")
    assert steps.run("prepare", talk, lambda number: f"{number} images") == 3
    printed = capsys.readouterr()
    assert printed.out.split() == ["prepare", "0", "s", "3", "images"]
    assert (printed.out.count("\n"), printed.err) == (1, "")
    assert steps.log.read_text().split("\n")[1:4] == ["== prepare", "a table of the job", "a warning of the job"]


def test_a_step_that_fails_says_where_its_output_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = Steps(tmp_path / "jobs.log")
    with pytest.raises(ZeroDivisionError):
        steps.run("train", lambda: 1 // 0, str)
    assert capsys.readouterr().out.strip().endswith(f"failed; its output: {steps.log}")
