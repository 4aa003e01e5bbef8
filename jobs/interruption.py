"""How a job ends by a signal: the first Ctrl-C or SIGTERM unwinds it within seconds, the second ends it at once.

A thread listens beside the job: the interpreter tells it of a signal even while the main thread is deep in C++.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

MESSAGE = "interrupted; the same command goes on"
_GRACE_S = 8.0
"""For what must be put away: locks, a service, Ray. Whoever presses Ctrl-C waits no longer."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A person, or the machine, asks the job to end.

    Attributes:
        exit_code: 130 after Ctrl-C, 143 after SIGTERM, as shells count.
    """

    def __init__(self, number: int) -> None:
        """Keep the signal's number as the exit code that belongs to it."""
        super().__init__(number)
        self.exit_code = 128 + number


def listen() -> None:
    """Take SIGINT and SIGTERM; call it again after ``ray.init``, which takes SIGTERM for itself."""
    for number in _SIGNALS:
        signal.signal(number, _interrupt)


def end_in_time() -> None:
    """Start the thread that ends the process when it doesn't end by itself, or is asked a second time."""
    listening, telling = os.pipe()
    os.set_blocking(telling, False)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(listening,), name="interruption", daemon=True).start()


def leave(exit_code: int, message: str) -> NoReturn:
    """Say the last word and end the process, whose other threads may still wait for a Ray that is gone."""
    sys.stdout.flush()
    print(message, file=sys.stderr, flush=True)
    os._exit(exit_code)


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _watch(listening: int) -> None:
    number = _next_signal(listening, timeout_s=None)
    _next_signal(listening, timeout_s=_GRACE_S)
    with contextlib.suppress(OSError):
        os.write(2, f"{MESSAGE}\n".encode())
    os._exit(128 + number)


def _next_signal(listening: int, timeout_s: float | None) -> int:
    """Return the number of the next SIGINT or SIGTERM; 0: none came in time."""
    while select.select([listening], [], [], timeout_s)[0]:
        for number in os.read(listening, 1):
            if number in _SIGNALS:
                return number
    return 0
