"""The service beyond its limits: what keys cost, five times more requests than it can answer, and hours of work.

python -m benchmarks.overload [keys] [overload] [soak] [--seconds 60] [--minutes 20], with nothing else running but for
the soak. Everything is asked of ``jobs.deploy`` without settings, with 600×450 JPEG of 61 kB and ``lite0``.

keys: the same service with keys, and with limits and an audit log beside them, in turns with one without. overload:
even arrivals at five times the rate of 8 clients; memory is that of all processes of the service (PSS, so what they
share counts once). soak: arrivals at 70 % of that rate, and the slope of the memory over the minutes after the first
five.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.measuring import median, print_table, write_lesions
from benchmarks.serving import Server, ask, start
from melanoma_ray.access.keys import create_key
from tests.checkpoints import build_checkpoint
from tests.cluster import free_ports

_NUM_IMAGES, _WIDTH, _HEIGHT = 64, 600, 450
_TIMES_TOO_MANY, _SHARE = 5.0, 0.7
_SETTLING_MINUTES = 5.0
_MIB = 2**20


class MemoryLog:
    """Memory of a server's processes, looked at every second."""

    def __init__(self) -> None:
        """Start empty."""
        self.seconds: list[float] = []
        self.mib: list[float] = []

    def slope(self, after_s: float) -> float:
        """Return MiB an hour by least squares, without the first seconds."""
        seconds, mib = np.array(self.seconds), np.array(self.mib)
        late = seconds - seconds[0] >= after_s
        return float(3600 * np.polyfit(seconds[late], mib[late], 1)[0]) if late.sum() > 2 else float("nan")


def measure_mib(server: Server) -> float:
    """Return the proportional set size of all processes of a server, MiB."""
    root, total = psutil.Process(server.process.pid), 0
    for one in [root, *root.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / _MIB


@contextmanager
def log_memory(server: Server) -> Iterator[MemoryLog]:
    """Look at the memory every second while the block runs."""
    log, is_over = MemoryLog(), threading.Event()

    def look() -> None:
        while not is_over.wait(1.0):
            log.mib.append(measure_mib(server))
            log.seconds.append(time.monotonic())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield log
    finally:
        is_over.set()
        thread.join()


def compare_keys(servers: Sequence[Server], images: Sequence[Path], rounds: int, seconds: float) -> None:
    """Print the rates of all in turns, and the share of the first one's that each of the others has."""
    plain, *guarded = (server.name for server in servers)
    rows = []
    for clients in (1, 8):
        rates: dict[str, list[float]] = {server.name: [] for server in servers}
        for number in range(rounds):
            for server in (*servers[number % len(servers) :], *servers[: number % len(servers)]):
                rates[server.name].append(ask(server, images, num_clients=clients, seconds=seconds)[0].per_second)
        row = [f"{clients}", f"{median(rates[plain]):.1f}"]
        for name in guarded:
            ratio = median([b / a for a, b in zip(rates[plain], rates[name], strict=True)])
            row += [f"{median(rates[name]):.1f}", f"{ratio:.3f}"]
        rows.append(row)
    columns = [plain, *(column for name in guarded for column in (name, "ratio"))]
    print_table(f"Requests/s, medians of {rounds} rounds", ["clients", *columns], rows)


def measure_overload(server: Server, images: Sequence[Path], seconds: float) -> None:
    """Print what becomes of five times more requests than the service can answer."""
    alone, _ = ask(server, images, num_clients=1, seconds=8.0)
    full, _ = ask(server, images, num_clients=8, seconds=8.0)
    before = measure_mib(server)
    with log_memory(server) as log:
        flood, _ = ask(server, images, per_second=_TIMES_TOO_MANY * full.per_second, seconds=seconds, is_random=0)
    again, _ = ask(server, images, num_clients=8, seconds=5.0)
    rows = [
        ["8 clients before: answers a second", f"{full.per_second:.1f}"],
        ["p99 of 8 clients before, ms", f"{full.p99_ms:.0f}"],
        ["p50 of one client, ms", f"{alone.p50_ms:.1f}"],
        ["arrivals a second", f"{_TIMES_TOO_MANY * full.per_second:.0f} for {seconds:.0f} s"],
        ["answered, a second", f"{flood.per_second:.1f}"],
        ["p50 and p99 of the answered, ms", f"{flood.p50_ms:.0f} and {flood.p99_ms:.0f}"],
        ["refused with 429", f"{flood.num_refused}"],
        ["p99 until refused, ms", f"{flood.refused_p99_ms:.0f}"],
        ["other failures", f"{flood.num_failures}"],
        ["the generator's share of a core", f"{flood.cpu_share:.2f}"],
        ["memory before, at most, after, MiB", f"{before:.0f}, {max(log.mib):.0f}, {measure_mib(server):.0f}"],
        ["8 clients in the 5 s after", f"{again.per_second:.1f} ({again.per_second / full.per_second:.2f})"],
    ]
    print_table("Overload", ["what", "figure"], rows)


def soak(server: Server, images: Sequence[Path], minutes: float) -> None:
    """Print errors and the slope of the memory over minutes at a share of the full rate."""
    full, _ = ask(server, images, num_clients=8, seconds=8.0)
    with log_memory(server) as log:
        found, _ = ask(server, images, per_second=_SHARE * full.per_second, seconds=60 * minutes, is_random=1)
    settled = [
        mib for at, mib in zip(log.seconds, log.mib, strict=True) if at - log.seconds[0] >= 60 * _SETTLING_MINUTES
    ]
    rows = [
        ["answered", f"{found.num_answers}"],
        ["a second", f"{found.per_second:.1f}"],
        ["refused, other failures", f"{found.num_refused}, {found.num_failures}"],
        ["p50 and p99, ms", f"{found.p50_ms:.0f} and {found.p99_ms:.0f}"],
        ["memory after the first 5 minutes, at the end, MiB", f"{settled[0]:.0f}, {settled[-1]:.0f}"],
        ["slope after the first 5 minutes, MiB an hour", f"{log.slope(60 * _SETTLING_MINUTES):.1f}"],
    ]
    print_table(f"{minutes:g} minutes at {_SHARE:.0%} of the rate of 8 clients", ["what", "figure"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", nargs="*", help="keys, overload and soak; by default keys and overload")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which the servers alternate")
    parser.add_argument("--seconds", type=float, default=60.0, help="seconds of overload")
    parser.add_argument("--minutes", type=float, default=20.0, help="minutes of the soak")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        _measure(Path(name), set(given.what) or {"keys", "overload"}, given)


def _measure(folder: Path, what: set[str], given: Any) -> None:  # noqa: ANN401 - argparse's
    written = write_lesions(folder / "images", num_images=_NUM_IMAGES, width=_WIDTH, height=_HEIGHT)
    images = sorted(written.rglob("*.jpg"))
    checkpoint = build_checkpoint(str(folder / "model"), network="tf_efficientnet_lite0", side=224)
    (port,) = free_ports(1)
    deploy = ["-m", "jobs.deploy", "--checkpoint", checkpoint, "--port"]
    with start("without keys", [*deploy, str(port)], port) as plain:
        if "keys" in what:
            with _start_guarded(folder, deploy) as guarded:
                compare_keys([plain, *guarded], images, given.rounds, 6.0)
        if "overload" in what:
            measure_overload(plain, images, given.seconds)
        if "soak" in what:
            soak(plain, images, given.minutes)


@contextmanager
def _start_guarded(folder: Path, deploy: Sequence[str]) -> Iterator[list[Server]]:
    """Start a service with keys, and one with all that keeps account of callers."""
    key, _ = create_key(str(folder / "keys.json"), "bench", ("predict",), None)
    keys, port, other = ["--keys", str(folder / "keys.json")], *free_ports(2)
    account = ["--audit-log", str(folder / "audit"), "--requests-per-minute", "1000000", "--max-concurrent", "1000"]
    with (
        start("keys", [*deploy, str(port), *keys], port, key) as guarded,
        start("keys, limits, audit log", [*deploy, str(other), *keys, *account], other, key) as accounting,
    ):
        yield [guarded, accounting]


if __name__ == "__main__":
    main()
