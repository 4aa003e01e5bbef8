"""The lines that docs/cluster.md gives for a cluster, in its order: each submitted as a job, everything in s3://."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.fs as pafs
import pytest

from melanoma_ray import storage
from melanoma_ray.inference.predictor import Predictor
from tests.cluster import Cluster, free_ports, running_cluster
from tests.s3 import running_bucket

ROOT = Path(__file__).parents[2]
JOB_TIMEOUT_S = 900
SMALL = "--model.image-side 64 --num-epochs 2"
SMALLER = {
    "prepare": "--image.side 64",
    "train": f"{SMALL} --num-workers 2 --cpus-per-worker 1 --global-batch-size 16",
    "tune": f"{SMALL} --num-workers 1 --cpus-per-worker 1 --num-trials 2 --global-batch-size 16",
    "deploy": "--num-replicas 1",
}
"""What is made smaller than in the page, so that it fits two cores without a GPU."""
NOISE = re.compile(r"\bWARN|Warning|Traceback|core_worker|\.cc:\d|PlacementGroupCleaner|DeprecationWarning")
OF_SUBMIT = re.compile(r"(INFO|SUCC)\s+(sdk|cli)\.py:")


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with running_bucket() as bucket:
        yield bucket


@pytest.fixture(scope="module")
def cluster(bucket: str) -> Iterator[Cluster]:
    """A head that takes no work, and two workers; they have the bucket's address and keys."""
    with running_cluster() as cluster:
        for name in ("a", "b"):
            cluster.add_worker(name, 2)
        yield cluster


def documented_lines() -> dict[str, str]:
    """Return each verb's line of the page, without what needs a GPU."""
    page = (ROOT / "docs" / "cluster.md").read_text().partition("## The jobs")[2]
    block = page.split("```")[1]
    lines = [re.sub(r"\s--use-gpu|\s--num-gpus \S+", "", line) for line in block.strip().splitlines()]
    return {line.split()[2].removeprefix("jobs."): line for line in lines}


def submit(cluster: Cluster, line: str) -> str:
    """Submit a line as the page says, and return what the job showed; lines before and after it are Ray's own."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--working-dir", ".", "--"]
    done = subprocess.run(
        [*command, *shlex.split(line)],
        cwd=ROOT,
        env=cluster.environment() | {"RAY_API_SERVER_ADDRESS": cluster.url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=JOB_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + cluster.logs()
    _, _, shown = done.stdout.partition("Running entrypoint for job ")
    return "\n".join(line for line in shown.splitlines()[1:] if not OF_SUBMIT.search(line))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_every_line_of_the_page_runs_on_a_cluster_and_leaves_its_result_in_the_bucket(
    cluster: Cluster, bucket: str, collection: str, tmp_path: Path
) -> None:
    for images in ("images", "new"):
        filesystem, path = storage.resolve(f"{bucket}/{images}")
        pafs.copy_files(collection, path, destination_filesystem=filesystem)
    (port,) = free_ports(1)
    lines = documented_lines()
    assert list(lines) == ["prepare", "train", "tune", "evaluate", "predict", "deploy"]
    results = {
        "prepare": "prepared/dataset.json",
        "train": "runs/first/best/manifest.json",
        "tune": "sweeps/first/best.json",
        "evaluate": "reports/first/report.json",
        "predict": "worklists/monday/worklist.html",
    }
    shown = ""
    for verb, line in lines.items():
        smaller = f"{SMALLER.get(verb, '')}{f' --port {port}' if verb == 'deploy' else ''}"
        output = submit(cluster, f"{line.replace('s3://BUCKET', bucket)} {smaller}")
        shown += f"\n$ {line}\n{output}"
        (tmp_path / "console.txt").write_text(shown)
        assert not NOISE.search(output), shown
        if verb in results:
            assert storage.read_bytes(f"{bucket}/{results[verb]}"), shown
    image = next(Path(collection, "melanoma").iterdir())
    url = f"http://127.0.0.1:{port}/v1/predict"
    answer = httpx.post(url, content=image.read_bytes(), timeout=60, trust_env=False).json()
    direct = Predictor.load(f"{bucket}/runs/first", "cpu").predict_file(image)
    assert (answer["decision"], answer["diagnosis"]) == (direct.decision, direct.diagnosis)
