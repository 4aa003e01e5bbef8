"""A job on a real cluster of two nodes: started, entered with a token, used and stopped as a user would."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from ray.job_submission import JobStatus, JobSubmissionClient

from tests.cluster import TOKEN, Cluster, running_cluster, wait_for

ROOT = Path(__file__).parents[2]
JOB_TIMEOUT_S = 300
IMAGES_PER_DIAGNOSIS = 12
FinishedJob = tuple[Path, Any, str]
"""Where its output is, what the cluster says of it, and its log."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running_cluster() as cluster:
        cluster.add_worker("worker", 2)
        yield cluster


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for diagnosis in ("melanoma", "nevus"):
        (folder / diagnosis).mkdir()
        for i in range(IMAGES_PER_DIAGNOSIS):
            pixels = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / diagnosis / f"{diagnosis}_{i}.jpg")
    return folder


@pytest.fixture(scope="module")
def finished_job(cluster: Cluster, images: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedJob:
    """The dataset that a submitted jobs.prepare wrote, and what the cluster says of the job."""
    output = tmp_path_factory.mktemp("prepared") / "dataset"
    client = JobSubmissionClient(cluster.url, headers={"Authorization": f"Bearer {TOKEN}"})
    job = client.submit_job(
        entrypoint=f"python -m jobs.prepare --images '{images}' --output '{output}'",
        runtime_env={"working_dir": str(ROOT)},
    )
    wait_for(lambda: client.get_job_status(job).is_terminal(), JOB_TIMEOUT_S, cluster)
    logs = client.get_job_logs(job)
    assert client.get_job_status(job) == JobStatus.SUCCEEDED, logs
    return output, client.get_job_info(job), logs


def test_a_submitted_job_writes_a_complete_prepared_dataset(finished_job: FinishedJob) -> None:
    output, _, logs = finished_job
    described = json.loads((output / "dataset.json").read_text())
    kept = [count for split in described["num_images"].values() for count in split.values()]
    assert sum(kept) == 2 * IMAGES_PER_DIAGNOSIS, logs


def test_the_driver_runs_on_the_head_and_all_tasks_on_the_worker(cluster: Cluster, finished_job: FinishedJob) -> None:
    _, job, _ = finished_job
    (head,) = (node["node_id"] for node in cluster.alive_nodes() if node["is_head_node"])
    (worker,) = (node["node_id"] for node in cluster.alive_nodes() if not node["is_head_node"])
    assert job.driver_node_id == head
    tasks = cluster.rows("/api/v0/tasks?detail=1&limit=10000")
    maps = [task for task in tasks if task["type"] == "NORMAL_TASK" and "write_shard" in task["name"]]
    assert {task["node_id"] for task in maps} == {worker}


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("not-the-token", 403)])
@pytest.mark.parametrize("path", ["/api/jobs/", "/api/v0/nodes"])
def test_a_client_without_the_token_is_refused(cluster: Cluster, path: str, token: str | None, status: int) -> None:
    assert cluster.get(path, token).status_code == status


def test_nobody_submits_a_job_without_the_token(cluster: Cluster) -> None:
    answer = httpx.post(f"{cluster.url}/api/jobs/", json={"entrypoint": "true"}, trust_env=False)
    assert answer.status_code == 401
    assert all(job["entrypoint"] != "true" for job in cluster.get("/api/jobs/").json())
