"""``serve deploy deploy/serve.yaml`` on a cluster whose nodes have what cluster.yaml installs, and no checkout."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint
from tests.cluster import Cluster, free_ports, running_cluster, wait_for
from tests.wheel import build_wheel, install_wheel

ROOT = Path(__file__).parents[2]
READY_TIMEOUT_S = 300


def serve_command(cluster: Cluster, folder: Path, *words: str) -> str:
    """Run Serve's own command as an operator would: from any folder, through the head's dashboard."""
    done = subprocess.run(
        [sys.executable, "-m", "ray.serve.scripts", *words],
        cwd=folder,
        env=cluster.environment() | {"RAY_DASHBOARD_ADDRESS": cluster.url},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr + cluster.logs()
    return done.stdout


@pytest.mark.slow
def test_the_file_of_the_page_serves_a_checkpoint_on_an_empty_cluster(tmp_path: Path, collection: str) -> None:
    checkpoint = build_checkpoint(str(tmp_path / "checkpoint"))
    image = next(Path(collection, "melanoma").iterdir())
    (tmp_path / "wheel").mkdir()
    python = install_wheel(build_wheel(tmp_path / "wheel"), tmp_path / "venv")
    shutil.rmtree(tmp_path / "wheel" / "source")
    settings = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    (port,) = free_ports(1)
    settings["http_options"]["port"] = port
    settings["applications"][0]["args"]["checkpoint"] = checkpoint
    (tmp_path / "serve.yaml").write_text(yaml.safe_dump(settings))

    with running_cluster(python) as cluster:
        cluster.add_worker("worker", 2)
        serve_command(cluster, tmp_path, "deploy", "serve.yaml")

        def is_running() -> bool:
            status = yaml.safe_load(serve_command(cluster, tmp_path, "status"))
            assert status["applications"]["melanoma_ray"]["status"] != "DEPLOY_FAILED", json.dumps(status, indent=2)
            return bool(status["applications"]["melanoma_ray"]["status"] == "RUNNING")

        wait_for(is_running, READY_TIMEOUT_S, cluster)
        asked = subprocess.run(
            [str(Path(python).parent / "melanoma"), "query", str(image), "--url", f"http://127.0.0.1:{port}"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        serve_command(cluster, tmp_path, "shutdown", "--yes")
    assert asked.returncode == 0, asked.stderr
    answer = Predictor.load(checkpoint, "cpu").predict_file(image)
    assert answer.diagnosis is not None
    assert answer.diagnosis in asked.stdout, asked.stdout
