"""What jobs print: commands that a shell takes as they stand."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest

from jobs import formatting
from melanoma_ray.reports.sweep import SweepTrial
from melanoma_ray.runs.directory import RunDirectory
from melanoma_ray.tuning.results import SweepResult


def test_the_next_command_after_a_sweep_is_one_that_a_shell_takes() -> None:
    trial = SweepTrial(trial_id="01", settings={}, value=0.5, num_epochs=1, status="finished")
    result = SweepResult(uri="/sweeps/name mit ü", trials=[trial], objective="balanced accuracy")
    command = formatting.describe_sweep(result).splitlines()[-1]
    assert shlex.split(command) == ["python", "-m", "jobs.train", "/sweeps/name mit ü/best.json", "…"]


def test_the_next_command_after_folds_is_one_that_a_shell_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory(uri=str(tmp_path / "it's mine"))
    monkeypatch.setattr(formatting, "read_manifest", lambda _: SimpleNamespace(ensemble_over="folds"))
    command = formatting.describe_run(run).splitlines()[-1].removeprefix("to measure it: ")
    assert shlex.split(command)[4:6] == [run.uri, "--split"]
