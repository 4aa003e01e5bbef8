"""The service as ``jobs.deploy`` starts it beside one uvicorn process: make bench-serve, with nothing else running.

The peer is one uvicorn process with FastAPI, Pillow and the same network exported to ONNX, in ONNX Runtime in fp32 with
its defaults. Both are asked in turns, round after round, by closed loops of 1, 8 and 32 clients with 600×450 JPEG of
61 kB; then the service by arrivals of an open loop at 70 % of its rate of 8 clients. The load generator is a process of
its own on the same cores. The bound is what decoding and the network alone do in a bare loop, one process a core.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import httpx
import psutil
import torch

from benchmarks.load import LoadResult
from benchmarks.measuring import median, print_table, write_lesions
from melanoma_ray.inference.export import export_checkpoint
from melanoma_ray.inference.predictor import Predictor
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports

_CLIENTS = (1, 8, 32)
_NUM_IMAGES, _WIDTH, _HEIGHT = 64, 600, 450
_SHARE = 0.7
"""Share of the closed loop's rate at which requests arrive in the open loop."""
_START_TIMEOUT_S = 180


class Server:
    """A server in a process group of its own."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, key: str | None = None) -> None:
        """Keep what ``start`` has started."""
        self.name, self.process, self.port, self.key = name, process, port, key

    def cpu_seconds(self) -> float:
        """Return the processor time of the process and its descendants."""
        root, total = psutil.Process(self.process.pid), 0.0
        for one in [root, *root.children(recursive=True)]:
            try:
                used = one.cpu_times()
            except psutil.Error:
                continue
            total += used.user + used.system
        return total


@contextmanager
def start(name: str, command: Sequence[str], port: int, key: str | None = None) -> Iterator[Server]:
    """Start a server, wait until it answers, and stop it at the end.

    Args:
        name: Name of the server in tables.
        command: Module and arguments.
        port: Port that it listens on.
        key: API key that requests to it must have; none: it asks for none.
    """
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, *command], stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{port}/readyz", trust_env=False).status_code == 200:
                    break
            except httpx.HTTPError:
                pass
            time.sleep(0.5)
        yield Server(name, process, port, key)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(_START_TIMEOUT_S)


def ask(server: Server, images: Sequence[Path], **load: float) -> tuple[LoadResult, float]:
    """Return what a load found, and the server's processor time for an answer, ms."""
    before = server.cpu_seconds()
    given = {"host": "127.0.0.1", "port": server.port, "images": [str(path) for path in images], "load": load}
    given |= {} if server.key is None else {"key": server.key}
    command = [sys.executable, "-m", "benchmarks.load", json.dumps(given)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout  # noqa: S603
    result = LoadResult(**json.loads(printed))
    return result, 1000 * (server.cpu_seconds() - before) / max(1, result.num_answers)


def measure_bound(checkpoint: str, images: Sequence[Path], seconds: float) -> float:
    """Return images/s of decoding and the network in a bare loop, in as many processes of one thread as cores."""
    cores, context = len(os.sched_getaffinity(0)), get_context("spawn")
    barrier, rates = context.Barrier(cores), context.SimpleQueue()
    paths = [str(path) for path in images]
    loops = [context.Process(target=_loop, args=(checkpoint, paths, seconds, barrier, rates)) for _ in range(cores)]
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    return float(sum(rates.get() for _ in loops))


def _loop(checkpoint: str, images: Sequence[str], seconds: float, barrier: Any, rates: Any) -> None:  # noqa: ANN401
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    predictor = Predictor.load(checkpoint, "cpu")
    encoded = [Path(path).read_bytes() for path in images]
    barrier.wait()
    number, started = 0, time.perf_counter()
    while time.perf_counter() < started + seconds:
        predictor.scorer.answer(predictor.decode(encoded[number % len(encoded)])[None])
        number += 1
    rates.put(number / (time.perf_counter() - started))


def compare(servers: Sequence[Server], images: Sequence[Path], rounds: int, seconds: float) -> float:
    """Print what clients see of both servers in turns; return the service's rate of 8 clients."""
    found: dict[tuple[str, int], list[tuple[LoadResult, float]]] = {}
    for _ in range(rounds):
        for number in _CLIENTS:
            for server in servers:
                result = ask(server, images, num_clients=number, seconds=seconds)
                found.setdefault((server.name, number), []).append(result)
    rows = []
    for number in _CLIENTS:
        of = {one.name: found[one.name, number] for one in servers}
        ours, peers = ([one.per_second for one, _ in results] for results in of.values())
        ratio = median([a / b for a, b in zip(ours, peers, strict=True)])
        rows += [[f"{number}", name, *_describe(results), f"{ratio:.2f}"] for name, results in of.items()]
    columns = ["requests/s", "p50, ms", "p99, ms", "CPU ms an answer", "generator, cores", "failed"]
    print_table(f"Closed loops, medians of {rounds} rounds", ["clients", "server", *columns, "service ÷ peer"], rows)
    return median([one.per_second for one, _ in found[servers[0].name, 8]])


def _describe(found: Sequence[tuple[LoadResult, float]]) -> list[str]:
    results = [one for one, _ in found]
    return [
        f"{median([one.per_second for one in results]):.1f}",
        f"{median([one.p50_ms for one in results]):.1f}",
        f"{median([one.p99_ms for one in results]):.1f}",
        f"{median([cpu for _, cpu in found]):.1f}",
        f"{median([one.cpu_share for one in results]):.3f}",
        f"{sum(one.num_failures + one.num_refused for one in results)}",
    ]


def measure_latency(server: Server, images: Sequence[Path], rate: float, seconds: float) -> None:
    """Print the latency at arrivals at a share of a rate, beside that of one client."""
    alone, _ = ask(server, images, num_clients=1, seconds=seconds)
    rows = []
    for name, is_random in (("even", 0), ("random (Poisson)", 1)):
        found, _ = ask(server, images, per_second=_SHARE * rate, seconds=2 * seconds, is_random=is_random)
        figures = (found.p50_ms, found.p99_ms, alone.p50_ms, found.p99_ms / alone.p50_ms)
        row = [name, f"{_SHARE * rate:.0f}", *(f"{figure:.1f}" for figure in figures), f"{found.num_failures}"]
        rows.append(row)
    columns = ["arrivals", "a second", "p50, ms", "p99, ms", "one client's p50, ms", "p99 ÷ it", "failed"]
    print_table(f"Open loop at {_SHARE:.0%} of the rate of 8 clients", columns, rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds in which the servers alternate")
    parser.add_argument("--seconds", type=float, default=8.0, help="seconds of each load")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        _measure(Path(name), given)


def _measure(folder: Path, given: Any) -> None:  # noqa: ANN401 - argparse's
    written = write_lesions(folder / "images", num_images=_NUM_IMAGES, width=_WIDTH, height=_HEIGHT)
    images = sorted(written.rglob("*.jpg"))
    checkpoint = build_checkpoint(str(folder / "model"), network="tf_efficientnet_lite0", side=224)
    export_checkpoint(checkpoint, str(folder / "export"))
    bound = measure_bound(checkpoint, images, given.seconds)
    port, peer_port = free_ports(2)
    ours = ["-m", "jobs.deploy", "--checkpoint", checkpoint, "--port", str(port)]
    peer = ["-m", "benchmarks.serving_peer", str(folder / "export" / "network-0.onnx"), str(peer_port)]
    with start("jobs.deploy", ours, port) as service, start("uvicorn + FastAPI", peer, peer_port) as other:
        rate = compare([service, other], images, given.rounds, given.seconds)
        print(f"\nThe bound is {bound:.1f} images/s; the service reaches {rate / bound:.2f} of it with 8 clients.")
        measure_latency(service, images, rate, given.seconds)


if __name__ == "__main__":
    main()
