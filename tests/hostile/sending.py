"""Sends hostile requests, each on a connection of its own, and reads whatever comes back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from tests.hostile.attack import Attack

_PATIENCE_S = 45.0
"""Longest time to wait for the end of an answer, seconds: longer than any limit of the service."""

_SLOW_AT_A_TIME = 6
"""Most slow attacks at a time: each holds one of the sixteen places of a replica for ten seconds."""
_LINGER_S = 3.0
"""Longest time to wait for more after the first piece of an answer, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One answer of HTTP/1.1."""

    status: int
    headers: dict[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def is_ours(self) -> bool:
        """Whether the application answered, and not what stands before it."""
        return "content-security-policy" in self.headers


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What came of an attack."""

    attack: Attack
    number: int
    answers: tuple[Answer, ...]
    raw: bytes
    seconds: float

    @property
    def label(self) -> str:
        """Statuses of all answers, for a table; a dash: there was none."""
        return "+".join(str(answer.status) for answer in self.answers) or "-"


async def send_all(attacks: Iterable[tuple[int, Attack]], port: int, *, at_a_time: int) -> list[Outcome]:
    """Return what came of all attacks.

    Args:
        attacks: Attacks with their numbers.
        port: Port of the service on this machine.
        at_a_time: Most attacks at a time; slow ones aren't counted, and don't hold up the others.
    """
    places, slow_places = asyncio.Semaphore(at_a_time), asyncio.Semaphore(_SLOW_AT_A_TIME)
    outcomes, running = list[Outcome](), set[asyncio.Task[None]]()

    async def send(number: int, attack: Attack, place: asyncio.Semaphore) -> None:
        if attack.kind == "slow":
            await place.acquire()
        began_at = time.monotonic()
        try:
            raw = await exchange(attack, port)
        finally:
            place.release()
        seconds, answers = time.monotonic() - began_at, tuple(read_answers(raw))
        outcomes.append(Outcome(attack=attack, number=number, answers=answers, raw=raw[:400], seconds=seconds))

    drawn = iter(attacks)
    # In a thread: a bomb takes seconds to make, and those who wait for their next byte would get 408.
    while (one := await asyncio.to_thread(next, drawn, None)) is not None:
        number, attack = one
        place = slow_places if attack.kind == "slow" else places
        if attack.kind != "slow":
            await place.acquire()
        task = asyncio.create_task(send(number, attack, place))
        running.add(task)
        task.add_done_callback(running.discard)
    await asyncio.gather(*running)
    return outcomes


async def exchange(attack: Attack, port: int) -> bytes:
    """Send an attack, and return what came back until the connection was closed, or nothing more came."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = bytearray()

    async def receive() -> None:
        while chunk := await asyncio.wait_for(reader.read(1 << 16), _LINGER_S if received else _PATIENCE_S):
            received.extend(chunk)

    receiving = asyncio.create_task(receive())
    with suppress(ConnectionError, TimeoutError):  # what was received until then counts
        await _send(attack, writer, receiving)
        if not attack.hangs_up:
            await receiving
    receiving.cancel()
    writer.transport.abort()
    await asyncio.gather(receiving, return_exceptions=True)
    return bytes(received)


async def _send(attack: Attack, writer: asyncio.StreamWriter, receiving: asyncio.Task[None]) -> None:
    for piece in attack.pieces:
        if receiving.done():
            return
        writer.write(piece)
        sending = asyncio.ensure_future(writer.drain())
        await asyncio.wait({sending, receiving}, timeout=_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        if not sending.done():
            sending.cancel()
            return
        sending.result()
        if attack.pause_s:
            await asyncio.wait({receiving}, timeout=attack.pause_s)


def read_answers(raw: bytes) -> Iterator[Answer]:
    """Yield the answers in what came back, but for the provisional ones (1xx)."""
    while raw.startswith(b"HTTP/1."):
        head, _, raw = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        if status < 200:
            continue
        if "chunked" in headers.get("transfer-encoding", ""):
            body, raw = _read_chunks(raw)
        elif raw.startswith(b"HTTP/1."):  # of a HEAD request
            body = b""
        else:
            length = int(headers.get("content-length", len(raw)))
            body, raw = raw[:length], raw[length:]
        yield Answer(status=status, headers=headers, body=body)


def _read_chunks(raw: bytes) -> tuple[bytes, bytes]:
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size.split(b";")[0] or b"0", 16)
        body, raw = body + raw[:length], raw[length + 2 :]
        if length == 0:
            break
    return body, raw
