"""A real cluster of several nodes on this machine, with a token."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

START_TIMEOUT_S = 120
TOKEN = secrets.token_hex(16)


class Cluster:
    """A head that offers no CPU, as in cluster.yaml, and workers; each a foreground ``ray start`` of its own."""

    def __init__(self, directory: Path, python: str = sys.executable) -> None:
        self.directory = directory
        self.python = python
        self.nodes: dict[str, subprocess.Popen[bytes]] = {}
        self.url = ""
        self.address = ""

    def start(self) -> None:
        """Start the head."""
        (self.directory / "token").write_text(TOKEN)
        gcs, dashboard, client = free_ports(3)
        self.url, self.address = f"http://127.0.0.1:{dashboard}", f"127.0.0.1:{gcs}"
        head = ["--head", f"--port={gcs}", "--num-cpus=0", f"--ray-client-server-port={client}"]
        self._start("head", [*head, "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}"])
        wait_for(self._answers, START_TIMEOUT_S, self)

    def add_worker(self, name: str, num_cpus: int, resources: dict[str, float] | None = None) -> str:
        """Start a worker, with resources of its own beside CPUs, and return its node's id."""
        before = {node["node_id"] for node in self.alive_nodes()}
        self._start(
            name, [f"--address={self.address}", f"--num-cpus={num_cpus}", f"--resources={json.dumps(resources or {})}"]
        )

        def new() -> set[str]:
            return {str(node["node_id"]) for node in self.alive_nodes()} - before

        wait_for(new, START_TIMEOUT_S, self)
        (node,) = new()
        return node

    def kill_raylet(self, name: str) -> None:
        """End a worker node as a machine that fails would: its raylet by SIGKILL, and with it all that it started."""
        process = self.nodes.pop(name)
        for child in psutil.Process(process.pid).children(recursive=True):
            if child.name() == "raylet":
                child.kill()
        process.wait(60)

    def _start(self, name: str, options: list[str]) -> None:
        node_manager, object_manager, agent = free_ports(3)
        command = [self.python, "-m", "ray.scripts.scripts", "start", "--block", "--node-ip-address=127.0.0.1"]
        command += [f"--temp-dir={self.directory / name}", "--num-gpus=0", f"--object-store-memory={256 * 2**20}"]
        command += [f"--node-manager-port={node_manager}", f"--object-manager-port={object_manager}"]
        command += [f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0", *options]
        with (self.directory / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,  # what lies in the checkout isn't on a node
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.nodes[name] = process

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's Ray may leak in; ``python`` in a job's command is the nodes' Python."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return environment | {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.directory / "token"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(self.python).parent}{os.pathsep}{os.environ['PATH']}",
        }

    def _answers(self) -> bool:
        """Tell whether the head lists itself; its state API comes up after its first page."""
        try:
            return bool(self.alive_nodes())
        except httpx.HTTPError:
            return False

    def get(self, path: str, token: str | None = TOKEN) -> httpx.Response:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        return httpx.get(self.url + path, headers=headers, timeout=30, trust_env=False)

    def rows(self, path: str) -> list[dict[str, Any]]:
        """What the state API says, as a list."""
        rows: list[dict[str, Any]] = self.get(path).raise_for_status().json()["data"]["result"]["result"]
        return rows

    def alive_nodes(self) -> list[dict[str, Any]]:
        return [node for node in self.rows("/api/v0/nodes") if node["state"] == "ALIVE"]

    def has_ended(self) -> bool:
        return any(node.poll() is not None for node in self.nodes.values())

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in self.directory.glob("*.log"))

    def stop(self) -> None:
        """End both nodes by their ids; ``ray stop`` would end every other cluster of this machine too."""
        for node in self.nodes.values():
            node.terminate()
        for node in self.nodes.values():
            try:
                node.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


def free_ports(number: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def wait_for(is_done: Callable[[], object], timeout_s: float, cluster: Cluster) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_done():
        if cluster.has_ended() or time.monotonic() > deadline:
            pytest.fail(f"a node ended, or nothing came within {timeout_s} s\n{cluster.logs()}")
        time.sleep(0.5)


def nodes_of(cluster: Cluster, actor: str) -> set[str]:
    """Return the ids of the nodes on which an actor whose class has this in its name is at work."""
    actors = cluster.rows("/api/v0/actors?detail=1&limit=1000")
    return {row["node_id"] for row in actors if actor in row["class_name"] and row["state"] == "ALIVE"}


@contextmanager
def running_cluster(python: str = sys.executable) -> Iterator[Cluster]:
    """Yield a cluster of a head alone, and stop it with all workers that were added; the nodes run this Python."""
    # Not pytest's own directory: a Unix socket's path may have 107 characters.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as name:
        cluster = Cluster(Path(name), python)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()
