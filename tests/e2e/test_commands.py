"""The README's commands as a user types them: each a process of its own, on a Ray of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from melanoma_ray.cluster.silence import Judge
from tests.checkpoints import build_checkpoint

ROOT = Path(__file__).parents[2]
SMALL = ["--model.image-side", "64", "--global-batch-size", "16"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}


def run(*arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def run_well(*arguments: str) -> str:
    done = run(*arguments)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert useless_lines(done.stdout + done.stderr) == []
    return done.stdout


def useless_lines(printed: str) -> list[str]:
    """Lines of Ray's about itself, its tables, and output of workers that is no progress of a training."""
    judge, words = Judge(), (" pid=", "╭", "Progress bars", "tensorboard", "Traceback", "graceful_shutdown")
    return [line for line in printed.splitlines() if judge.is_chatter(line) or any(word in line for word in words)]


def assert_refused(*arguments: str, message: str) -> None:
    done = run(*arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


@pytest.fixture(scope="module")
def data(collection: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    output = str(tmp_path_factory.mktemp("cli") / "prepared")
    printed = run_well("jobs.prepare", "--images", collection, "--output", output, "--image.side", "64")
    assert "quarantined: " in printed
    assert "synthetic images" in printed
    return output


@pytest.fixture(scope="module")
def trained(data: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A run whose driver was killed after its first epoch, and that the same command went on with."""
    storage = tmp_path_factory.mktemp("cli-runs")
    command = ["jobs.train", "baseline", *SMALL, "--num-epochs", "4"]
    command += ["--data", data, "--storage", str(storage), "--name", "first"]
    started = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while not list((storage / "first").glob("checkpoint_*/progress.json")):
        assert time.monotonic() < deadline
        assert started.poll() is None
        time.sleep(0.05)
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    assert not (storage / "first" / "best").exists()
    printed = run_well(*command)
    assert "checkpoint: " in printed
    history = json.loads((storage / "first" / "history.json").read_text())["epochs"]
    assert [record["epoch"] for record in history] == [1, 2, 3, 4]
    return str(storage / "first")


def test_evaluate_and_predict_write_what_the_readme_says(
    trained: str, data: str, collection: str, tmp_path: Path
) -> None:
    printed = run_well("jobs.evaluate", "--checkpoint", trained, "--data", data, "--output", str(tmp_path / "report"))
    assert "melanoma_auroc" in printed
    assert (tmp_path / "report" / "report.html").exists()
    printed = run_well(
        "jobs.predict", "--checkpoint", trained, "--images", collection, "--output", str(tmp_path / "out")
    )
    assert "3 Unreadable" in printed
    assert (tmp_path / "out" / "predictions.parquet").exists()


@pytest.mark.slow
def test_cross_validation_is_one_command_and_its_figures_another(collection: str, tmp_path: Path) -> None:
    data, storage = str(tmp_path / "data"), str(tmp_path / "runs")
    folds = ["--split.num-folds", "2", "--split.test-fraction", "0"]
    run_well("jobs.prepare", "--images", collection, "--output", data, "--image.side", "64", *folds)
    train = ["jobs.train", "baseline", *SMALL, "--num-epochs", "1", "--folds"]
    printed = run_well(*train, "--data", data, "--storage", storage, "--name", "both")
    assert f"jobs.evaluate --checkpoint {storage}/both --split folds" in printed
    report = str(tmp_path / "report")
    printed = run_well(
        "jobs.evaluate", "--checkpoint", f"{storage}/both", "--data", data, "--split", "folds", "--output", report
    )
    assert "balanced_accuracy" in printed
    assert_refused(
        *train, "--num-seeds", "2", "--data", data, "--storage", storage, "--name", "both", message="over folds or over"
    )


def test_deploy_answers_query_until_it_is_ended(trained: str, collection: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    service = subprocess.Popen(
        [sys.executable, "-m", "jobs.deploy", "--checkpoint", trained, "--port", port],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert service.stdout is not None
    try:
        assert any("Ctrl-C" in line for line in service.stdout)
        images = [str(path) for path in sorted(Path(collection, "melanoma").glob("*.jpg"))[:2]]
        printed = run_well("jobs.query", *images, "--url", f"http://127.0.0.1:{port}")
        assert len(printed.splitlines()) == 2
        assert "threshold" in printed
        assert_refused(
            "jobs.deploy", "--checkpoint", trained, "--port", port, message=f"port {port} on 127.0.0.1 is in use"
        )
    finally:
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=180) in {0, 143}  # ended by its own handler, or by the signal
    assert_refused("jobs.query", images[0], "--url", f"http://127.0.0.1:{port}", message="is not reachable")


def test_bad_input_ends_at_once_with_one_clear_line(data: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "warts" / "warts").mkdir(parents=True)
    (tmp_path / "warts" / "warts" / "a.jpg").write_bytes(b"x")
    output = ["--output", str(tmp_path / "out")]
    assert_refused("jobs.prepare", "--images", str(tmp_path / "none"), *output, message="not found; give the folder")
    assert_refused("jobs.prepare", "--images", str(tmp_path / "empty"), *output, message="no image in it")
    assert_refused(
        "jobs.prepare", "--images", str(tmp_path / "warts"), *output, message="(only 1 warts); a --taxonomy may add"
    )
    train = ["--data", data, "--storage", str(tmp_path), "--name", "x", "--num-workers", "3"]
    assert_refused(
        "jobs.train", "baseline", *SMALL, *train, message="global_batch_size=16: 3 workers can't share it evenly"
    )
    assert_refused("jobs.train", str(tmp_path / "no.json"), *train, message="no such file")


def test_bad_checkpoints_are_refused_with_one_clear_line(tmp_path: Path) -> None:
    future = Path(build_checkpoint(str(tmp_path / "future")))
    manifest = json.loads((future / "manifest.json").read_text())
    (future / "manifest.json").write_text(json.dumps(manifest | {"format_version": 2}))
    damaged = Path(build_checkpoint(str(tmp_path / "damaged")))
    weights = (damaged / "model.safetensors").read_bytes()
    (damaged / "model.safetensors").write_bytes(weights[:-8] + b"\0" * 8)
    assert_refused("jobs.deploy", "--checkpoint", str(future), message="format version 2: this melanoma_ray")
    assert_refused("jobs.deploy", "--checkpoint", str(damaged), message="corrupted: its sha256 is")
    assert_refused("jobs.deploy", "--checkpoint", str(tmp_path / "none"), message="not found; give a checkpoint")
