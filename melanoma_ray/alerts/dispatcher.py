"""Sends what is in the outbox: one process at a time, a thread a sink, so that one that hangs delays no other.

A message is *delivered* only after its sink has confirmed it. A process that is killed between the two sends it again,
under the same key. A sink that can't be reached is left alone for a pause that grows; a message that is refused again
and again becomes a dead letter and delays no other.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from melanoma_ray.alerts.outbox import Message, Outbox
from melanoma_ray.alerts.schedule import is_quiet
from melanoma_ray.alerts.settings import AlertSettings, AnySink
from melanoma_ray.alerts.sinks import Sink, build_sink
from melanoma_ray.errors import ConfigError, SinkError
from melanoma_ray.retries import pause_s
from melanoma_ray.wording import count

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.1
"""Time between two looks into the outbox, seconds."""


@contextmanager
def hold_sending(outbox_path: str) -> Iterator[bool]:
    """Be the only process that sends from an outbox, while the block runs; yields whether it is.

    The system frees the lock when the process ends, however it ends.
    """
    handle = os.open(f"{Path(outbox_path).expanduser().absolute()}.sender", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


class Dispatcher:
    """Threads that send from one outbox until they are stopped."""

    def __init__(self, settings: AlertSettings) -> None:
        """Keep the settings; ``start`` starts the threads."""
        self._settings = settings
        self._is_over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failure: BaseException | None = None
        """Error that ended a thread; none: none did."""

    def start(self) -> None:
        """Start a thread for each sink, and one for escalations."""
        for sink in self._settings.sinks:
            self._begin(partial(self._serve, sink), f"alerts-{sink.name}")
        self._begin(self._escalate, "alerts-escalation")

    def stop(self) -> None:
        """Stop the threads, each after the attempt that it is making."""
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def _begin(self, work: Callable[[], None], name: str) -> None:
        thread = threading.Thread(target=self._run, args=(work,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever ends one thread ends all, and is raised where they began
            self.failure = error
            self._is_over.set()
            logger.error("alerts: sending stopped: %s", error)  # noqa: TRY400 - one line, no traceback

    def _serve(self, sink: AnySink) -> None:
        with Outbox(self._settings.outbox) as outbox, closing(SinkWorker(sink, outbox)) as worker:
            while not self._is_over.is_set():
                if not worker.step(time.time()):
                    self._is_over.wait(_LOOK_EVERY_S)

    def _escalate(self) -> None:
        with Outbox(self._settings.outbox) as outbox:
            while not self._is_over.wait(_LOOK_EVERY_S):
                for alert_id in outbox.escalate(time.time()):
                    logger.warning("alert %s: nobody acknowledged it in time; it goes to its next sinks", alert_id[:12])


class SinkWorker:
    """Packs and sends the messages of one sink, one after another."""

    def __init__(self, settings: AnySink, outbox: Outbox, sink: Sink | None = None) -> None:
        """Keep the parts.

        Args:
            settings: Settings of the sink.
            outbox: The outbox, opened in this thread.
            sink: The sink; none: it is built when it is first used.
        """
        self._settings, self._outbox, self._sink = settings, outbox, sink
        self._chance = random.Random()  # noqa: S311 - jitter
        self._num_failures = 0
        """Failures since the sink last took a message."""
        self._paused_until = 0.0

    def close(self) -> None:
        """Close the sink."""
        if self._sink is not None:
            self._sink.close()

    def step(self, now: float) -> bool:
        """Make at most one attempt; return whether one was made.

        Args:
            now: Time, seconds since 1970.
        """
        pack(self._outbox, self._settings, now)
        if now < self._paused_until:
            return False
        message = self._outbox.next_due(self._settings.name, now)
        if message is None:
            return False
        self._attempt(message)
        return True

    def _attempt(self, message: Message) -> None:
        try:
            outcome = self._send(message)
        except SinkError as error:
            self._settle_failure(message, error, time.time())
        else:
            if self._num_failures:
                logger.warning("alerts: sink %s takes messages again", self._settings.name)
            self._num_failures = 0
            self._outbox.confirm(message.key, time.time(), outcome)

    def _send(self, message: Message) -> str:
        """Send a message; whatever a sink raises becomes a SinkError, since no alert may end the sending of others."""
        try:
            if self._sink is None:
                self._sink = build_sink(self._settings)
            return self._sink.send(message)
        except SinkError:
            raise
        except ConfigError as error:
            raise SinkError(str(error), is_refusal=True) from error
        except Exception as error:
            logger.exception("alerts: sink %s raised what nobody foresaw", self._settings.name)
            msg = f"sink {self._settings.name!r}: {type(error).__name__}: {error}"
            raise SinkError(msg, is_refusal=True) from error

    def _settle_failure(self, message: Message, error: SinkError, now: float) -> None:
        one, text = self._settings, " ".join(str(error).split())
        num_refusals = message.num_refusals + error.is_refusal
        began = message.first_attempt_at or now
        if num_refusals >= one.max_refusals or now - began >= 3600 * one.give_up_hours:
            self._outbox.bury(message.key, now, text, is_refusal=error.is_refusal)
            logger.error("alerts: dead letter for sink %s, %s: %s", one.name, count(len(message.alerts), "alert"), text)
            return
        pause = pause_s(message.num_attempts + 1, one.retry_first_s, one.retry_longest_s, self._chance.random())
        due_at = now + max(pause, error.retry_after_s or 0.0)
        self._outbox.postpone(message.key, now, text, due_at=due_at, is_refusal=error.is_refusal)
        if not error.is_refusal:  # the sink itself is down: its other messages would fail too
            self._num_failures += 1
            pause = pause_s(self._num_failures, one.retry_first_s, one.retry_longest_s, self._chance.random())
            self._paused_until = now + max(pause, error.retry_after_s or 0.0)
            if self._num_failures == 1:  # one line for all messages and attempts until it takes one again
                logger.warning("alerts: sink %s: %s; it is tried again", one.name, text)


def pack(outbox: Outbox, sink: AnySink, now: float) -> None:
    """Put what may leave for a sink into messages: all, or in quiet hours what is urgent."""
    quiet = is_quiet(now, sink.quiet_from, sink.quiet_until, sink.time_zone)
    wait_s = 60 * sink.batch_minutes
    older_than = None if quiet else now - wait_s if wait_s else math.inf  # inf: a clock that was put back holds nothing
    outbox.pack(sink.name, now, max_alerts=sink.max_alerts, older_than=older_than)


def pack_all(outbox: Outbox, settings: AlertSettings) -> None:
    """Put what may leave for each sink into messages; any number of processes may do so."""
    for sink in settings.sinks:
        pack(outbox, sink, time.time())


@dataclass(frozen=True, kw_only=True, slots=True)
class SendingResult:
    """Where all deliveries of an outbox stand."""

    num_delivered: int
    num_waiting: int
    num_dead: int
    """Deliveries that were given up, of alerts that nobody has acknowledged."""
    num_sendable: int
    """Waiting deliveries that no digest and no quiet hours hold back."""
    without_sink: tuple[str, ...]
    """Sinks with waiting deliveries that the settings don't have."""
    is_sent_elsewhere: bool = False
    """Another process sends from this outbox."""


def send_pending(settings: AlertSettings, *, timeout_s: float) -> SendingResult:
    """Send what may leave the outbox now, until all of it is settled or the time is over.

    What waits for a digest or for the end of the quiet hours stays. If another process sends, wait for that one.

    Args:
        settings: Settings of the alerts.
        timeout_s: Longest time, seconds.

    Raises:
        AlertError: The outbox can't be used.
    """
    with Outbox(settings.outbox) as outbox, hold_sending(settings.outbox) as is_ours:
        dispatcher = Dispatcher(settings)
        pack_all(outbox, settings)
        if is_ours:
            dispatcher.start()
        names = [sink.name for sink in settings.sinks]
        deadline = time.monotonic() + timeout_s
        try:
            while outbox.count_sendable(names) and time.monotonic() < deadline and dispatcher.failure is None:
                time.sleep(_LOOK_EVERY_S)
        finally:
            dispatcher.stop()
        if dispatcher.failure is not None:
            raise dispatcher.failure
        return summarize(outbox, settings, is_sent_elsewhere=not is_ours)


def send_forever(settings: AlertSettings, is_over: threading.Event) -> None:
    """Send from the outbox until an event is set; waits while another process sends.

    Raises:
        AlertError: The outbox can't be used.
    """
    while not is_over.is_set():
        with hold_sending(settings.outbox) as is_ours:
            if is_ours:
                dispatcher = Dispatcher(settings)
                dispatcher.start()
                try:
                    while not is_over.wait(_LOOK_EVERY_S) and dispatcher.failure is None:
                        pass
                finally:
                    dispatcher.stop()
                if dispatcher.failure is not None:
                    raise dispatcher.failure
                return
        is_over.wait(_LOOK_EVERY_S)


def summarize(outbox: Outbox, settings: AlertSettings, *, is_sent_elsewhere: bool = False) -> SendingResult:
    """Return where all deliveries of an outbox stand."""
    counts = outbox.count_deliveries()
    known = {sink.name for sink in settings.sinks}

    def total(state: str) -> int:
        return sum(number for (_, one), number in counts.items() if one == state)

    return SendingResult(
        num_delivered=total("delivered"),
        num_waiting=total("waiting"),
        num_dead=outbox.count_given_up(),
        num_sendable=outbox.count_sendable([sink.name for sink in settings.sinks]),
        without_sink=tuple(sorted({sink for sink, state in counts if state == "waiting" and sink not in known})),
        is_sent_elsewhere=is_sent_elsewhere,
    )
