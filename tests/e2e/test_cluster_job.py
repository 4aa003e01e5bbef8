"""A job on a real cluster of two nodes: started, entered with a token, used and stopped as a user would."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from ray.job_submission import JobStatus, JobSubmissionClient

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 120
JOB_TIMEOUT_S = 300
IMAGES_PER_DIAGNOSIS = 12
TOKEN = secrets.token_hex(16)


class Cluster:
    """A head that offers no CPU, as in cluster.yaml, and a worker that offers two."""

    def __init__(self, directory):
        self.directory = directory
        self.nodes = []
        self.url = ""

    def start(self):
        """Start both nodes; each is a foreground ``ray start`` with a session and a directory of its own."""
        (self.directory / "token").write_text(TOKEN)
        gcs, dashboard, client = free_ports(3)
        self.url = f"http://127.0.0.1:{dashboard}"
        head = ["--head", f"--port={gcs}", "--num-cpus=0", f"--ray-client-server-port={client}"]
        self._start("head", [*head, "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"])
        wait_for(self._answers, START_TIMEOUT_S, self)
        self._start("worker", [f"--address=127.0.0.1:{gcs}", "--num-cpus=2"])
        wait_for(lambda: len(self.alive_nodes()) == 2, START_TIMEOUT_S, self)

    def _start(self, name, options):
        node_manager, object_manager, agent = free_ports(3)
        command = [Path(sys.executable).parent / "ray", "start", "--block", "--node-ip-address=127.0.0.1"]
        command += [f"--temp-dir={self.directory / name}", "--num-gpus=0", f"--object-store-memory={256 * 2**20}"]
        command += [f"--node-manager-port={node_manager}", f"--object-manager-port={object_manager}"]
        command += [f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0", *options]
        with (self.directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, env=self._environment(), stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.nodes.append(process)

    def _environment(self):
        """Nothing of the caller's Ray may leak in; ``python`` in a job's command is this Python."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return environment | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.directory / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def _answers(self):
        try:
            return self.get("/api/version").is_success
        except httpx.TransportError:
            return False

    def get(self, path, token=TOKEN):
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.get(self.url + path, headers=headers, timeout=30, trust_env=False)

    def rows(self, path):
        """What the state API says, as a list."""
        return self.get(path).raise_for_status().json()["data"]["result"]["result"]

    def alive_nodes(self):
        return [node for node in self.rows("/api/v0/nodes") if node["state"] == "ALIVE"]

    def has_ended(self):
        return any(node.poll() is not None for node in self.nodes)

    def logs(self):
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in self.directory.glob("*.log"))

    def stop(self):
        """End both nodes by their ids; ``ray stop`` would end every other cluster of this machine too."""
        for node in self.nodes:
            node.terminate()
        for node in self.nodes:
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_for(is_done, timeout_s, cluster):
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if cluster.has_ended() or time.monotonic() > deadline:
            pytest.fail(f"a node ended, or nothing came within {timeout_s} s\n{cluster.logs()}")
        time.sleep(0.5)


@pytest.fixture(scope="module")
def cluster():
    # Not pytest's own directory: a Unix socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name))
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for diagnosis in ("melanoma", "nevus"):
        (folder / diagnosis).mkdir()
        for i in range(IMAGES_PER_DIAGNOSIS):
            pixels = random.integers(0, 256, (96, 128, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / diagnosis / f"{diagnosis}_{i}.jpg")
    return folder


@pytest.fixture(scope="module")
def finished_job(cluster, images, tmp_path_factory):
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


def test_a_submitted_job_writes_a_complete_prepared_dataset(finished_job):
    output, _, logs = finished_job
    described = json.loads((output / "dataset.json").read_text())
    kept = [count for split in described["num_images"].values() for count in split.values()]
    assert sum(kept) == 2 * IMAGES_PER_DIAGNOSIS, logs


def test_the_driver_runs_on_the_head_and_all_tasks_on_the_worker(cluster, finished_job):
    _, job, _ = finished_job
    (head,) = (node["node_id"] for node in cluster.alive_nodes() if node["is_head_node"])
    (worker,) = (node["node_id"] for node in cluster.alive_nodes() if not node["is_head_node"])
    assert job.driver_node_id == head
    tasks = cluster.rows("/api/v0/tasks?detail=1&limit=10000")
    maps = [task for task in tasks if task["type"] == "NORMAL_TASK" and "write_chunk" in task["name"]]
    assert {task["node_id"] for task in maps} == {worker}


@pytest.mark.parametrize(("token", "status"), [(None, 401), ("not-the-token", 403)])
@pytest.mark.parametrize("path", ["/api/jobs/", "/api/v0/nodes"])
def test_a_client_without_the_token_is_refused(cluster, path, token, status):
    assert cluster.get(path, token).status_code == status


def test_nobody_submits_a_job_without_the_token(cluster):
    answer = httpx.post(f"{cluster.url}/api/jobs/", json={"entrypoint": "true"}, trust_env=False)
    assert answer.status_code == 401
    assert all(job["entrypoint"] != "true" for job in cluster.get("/api/jobs/").json())
