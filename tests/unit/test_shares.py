"""Probabilities read alike on page, console, report and worklist."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.answers import describe_answer
from melanoma_ray.api import Prediction, describe_share
from melanoma_ray.reports.worklist import WorklistRow, render_worklist
from tests.unit.reports.report_samples import build_worklist

SHARE_JS = Path(__file__).parents[2] / "melanoma_ray" / "serving" / "static" / "share.js"
SHARES = [0.0, 2e-7, 0.0004, 0.001, 0.0625, 0.0005 + 0.1, 0.6321, 0.9985, 0.999, 0.9999, 1 - 1e-9, 1.0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0, "0.0 %"),
        (0.0004, "< 0.1 %"),
        (0.6321, "63.2 %"),
        (0.0625, "6.3 %"),
        (0.9999, "> 99.9 %"),
        (1.0, "100.0 %"),
    ],
)
def test_only_none_and_all_are_written_as_0_and_100_percent(value: float, words: str) -> None:
    assert describe_share(value) == words


def test_the_page_writes_every_share_as_python_does() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node isn't on PATH; tests/browser asks Chromium the same")
    shares = [*SHARES, *(number / 997 for number in range(998)), *(number / 800 for number in range(801))]
    script = f"""
        const source = {json.dumps(SHARE_JS.read_text(encoding="utf-8"))};
        const {{ describeShare }} = await import("data:text/javascript," + encodeURIComponent(source));
        console.log(JSON.stringify({json.dumps(shares)}.map(describeShare)));
    """
    command = [node, "--input-type=module", "--eval", script]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    assert json.loads(printed) == [describe_share(share) for share in shares]


def test_console_and_worklist_never_call_a_doubt_nothing() -> None:
    answer = Prediction(
        image_id=None,
        probabilities={"nevus": 1 - 2e-5, "melanoma": 2e-5},
        melanoma_probability=2e-5,
        decision="routine",
        decision_threshold=0.1,
        checkpoint_id="0" * 12,
        is_synthetic=False,
    )
    assert describe_answer("a.jpg", answer) == (
        "a.jpg: Routine; melanoma < 0.1 % (threshold 10.0 %); most probable: nevus > 99.9 %"
    )
    row = WorklistRow(
        image_id="a",
        path="a.jpg",
        melanoma_probability=2e-5,
        decision="routine",
        top_diagnosis="nevus",
        thumbnail=None,
        error=None,
    )
    page = render_worklist(build_worklist([row]), [row])
    assert "&lt; 0.1 %" in page
