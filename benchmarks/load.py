"""A load generator for HTTP: closed loops of clients, and open-loop arrivals timed from when they were due.

In an open loop requests are sent at moments that were drawn before, whatever the server does, and a latency counts
from the moment at which its request was due. A generator that waits for answers before it sends would leave out just
the requests that a slow moment delays (coordinated omission). The generator is one process, and says how much
processor time it took itself, because it shares the cores with the server.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

_END_OF_HEADER = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadResult:
    """What a load found."""

    num_answers: int
    """Answers with status 200."""
    num_failures: int
    """Answers with another status than 200 and 429, and connections that ended."""
    num_refused: int
    """Answers with status 429."""
    seconds: float
    """From the first request's due time to the last answer."""
    p50_ms: float
    """Of the answers with status 200; NaN: there is none."""
    p99_ms: float
    refused_p99_ms: float
    """Of the answers with status 429; NaN: there is none."""
    cpu_share: float
    """Processor time of the generator, in cores."""

    @property
    def per_second(self) -> float:
        """Answers with status 200 in a second."""
        return self.num_answers / self.seconds


class _Connection(asyncio.Protocol):
    """One connection that is kept alive, with one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(_END_OF_HEADER)
        if end < 0 or self._answer is None:
            return
        header = bytes(self._received[:end]).lower()
        found = header.split(_LENGTH, 1)[1:]  # a refusal may come in chunks: then its body doesn't matter
        length = int(found[0].split(b"\r\n", 1)[0]) if found else 0
        if len(self._received) >= end + len(_END_OF_HEADER) + length:
            self._received.clear()
            answer, self._answer = self._answer, None
            if not found and self.transport is not None:
                self.transport.close()
                self.transport = None
            answer.set_result(int(header[9:12]))

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(0)

    async def ask(self, request: bytes) -> int:
        """Send a request and return the answer's status; 0: the connection ended."""
        if self.transport is None:
            return 0
        self._answer = asyncio.get_running_loop().create_future()
        answer = self._answer
        self.transport.write(request)
        return await answer


def build_requests(images: Sequence[bytes], path: str = "/v1/predict", key: str | None = None) -> list[bytes]:
    """Return the bytes of a POST of each image.

    Args:
        images: Encoded images.
        path: Path of the request.
        key: API key; none: no header has one.
    """
    authorization = "" if key is None else f"Authorization: Bearer {key}\r\n"
    return [
        f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\n{authorization}"
        f"Content-Length: {len(image)}\r\n\r\n".encode()
        + image
        for image in images
    ]


async def _connect(host: str, port: int) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, host, port)
    return connection


async def closed_loop(
    address: tuple[str, int], requests: Sequence[bytes], *, num_clients: int, seconds: float
) -> LoadResult:
    """Return what clients see that each send the next request as soon as they have an answer."""
    connections = [await _connect(*address) for _ in range(num_clients)]
    latencies: list[float] = []
    statuses: list[int] = []
    started, cpu = time.perf_counter(), _cpu_seconds()

    async def keep_asking(client: int) -> None:
        number = client
        while (sent := time.perf_counter()) < started + seconds:
            status = await connections[client].ask(requests[number % len(requests)])
            statuses.append(status)
            latencies.append(time.perf_counter() - sent)
            number += num_clients
            if status == 0:
                connections[client] = await _connect(*address)

    await asyncio.gather(*(keep_asking(client) for client in range(num_clients)))
    return _summarise(latencies, statuses, time.perf_counter() - started, _cpu_seconds() - cpu)


async def open_loop(
    address: tuple[str, int], requests: Sequence[bytes], *, per_second: float, seconds: float, is_random: bool
) -> LoadResult:
    """Return what is seen at even arrivals, or at those as random as of many independent clients (Poisson)."""
    even = np.full(max(1, round(per_second * seconds)), 1 / per_second)
    gaps = np.random.default_rng(0).exponential(even) if is_random else even
    idle: list[_Connection] = []
    latencies: list[float] = []
    statuses: list[int] = []
    started, cpu = time.perf_counter() + 0.05, _cpu_seconds()

    async def ask(number: int, due: float) -> None:
        while idle and idle[-1].transport is None:  # the server has closed it, since nothing was asked for long
            idle.pop()
        connection = idle.pop() if idle else await _connect(*address)
        statuses.append(await connection.ask(requests[number % len(requests)]))
        latencies.append(time.perf_counter() - due)
        if connection.transport is not None:
            idle.append(connection)

    tasks = []
    for number, due in enumerate(started + np.cumsum(gaps)):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        tasks.append(asyncio.create_task(ask(number, float(due))))
    await asyncio.gather(*tasks)
    return _summarise(latencies, statuses, time.perf_counter() - started, _cpu_seconds() - cpu)


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _summarise(latencies: Sequence[float], statuses: Sequence[int], seconds: float, cpu: float) -> LoadResult:
    milliseconds, status = 1000 * np.array(latencies), np.array(statuses)
    answered, refused = milliseconds[status == 200], milliseconds[status == 429]
    return LoadResult(
        num_answers=len(answered),
        num_failures=len(status) - len(answered) - len(refused),
        num_refused=len(refused),
        seconds=seconds,
        p50_ms=_percentile(answered, 50),
        p99_ms=_percentile(answered, 99),
        refused_p99_ms=_percentile(refused, 99),
        cpu_share=cpu / seconds,
    )


def _percentile(milliseconds: np.ndarray, percent: float) -> float:
    return float(np.percentile(milliseconds, percent)) if len(milliseconds) else float("nan")


def main() -> None:
    """Run one load, given as JSON on the command line, and print its result as JSON."""
    given = json.loads(sys.argv[1])
    requests = build_requests([Path(path).read_bytes() for path in given["images"]], key=given.get("key"))
    load, address = given["load"], (given["host"], given["port"])
    loop = closed_loop if "num_clients" in load else open_loop
    result: LoadResult = asyncio.run(loop(address, requests, **load))
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    main()
