"""How a signal ends a job: the first Ctrl-C or SIGTERM unwinds it within seconds, the second one ends it at once.

A thread of its own waits for signals, since the interpreter reports them to it even while the main thread runs C++.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

MESSAGE = "interrupted; the same command goes on"
BEGINS_ANEW = "interrupted; the same command begins anew"
NOTHING_BEGUN = "interrupted; nothing was begun"
READER_GONE = 141
"""Exit code by the convention of shells where nobody reads the output any more, as after ``| head -1``."""
GRACE_S = 8.0
"""Longest time to release locks and shut down Ray, seconds; then the process is ended."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def end_at_once() -> None:
    """Have SIGINT and SIGTERM end the process with one line until ``listen``; what a job imports takes seconds."""
    for number in _SIGNALS:
        _handle(number, _end_at_once)


def listen() -> None:
    """Handle SIGINT and SIGTERM; must be called again after ``ray.init``, which replaces the handler of SIGTERM."""
    for number in _SIGNALS:
        _handle(number, _interrupt)


def _handle(number: int, handler: Callable[[int, FrameType | None], object]) -> None:
    """Have a function handle a signal, on the stack of the thread that gets it.

    Python's own C handler runs on the thread's alternate stack, if it has one. OpenVINO 2026.4 gives the thread that
    compiles a network such a stack and frees it with the network: the next signal then ended the process by a
    segmentation fault. C's ``signal`` installs the same handler without that.
    """
    signal.signal(number, handler)
    install = ctypes.CDLL(None).signal
    install.restype, install.argtypes = ctypes.c_void_p, (ctypes.c_int, ctypes.c_void_p)
    install(number, install(number, int(signal.SIG_IGN)))
    signal.siginterrupt(number, True)  # noqa: FBT003 - or a wait would go on until it ends by itself


@dataclass
class _Ending:
    """How this process ends when a signal comes."""

    last_line: str = MESSAGE
    """What it says then."""
    longest_s: float = GRACE_S
    """Time that the job has until the process is ended, seconds."""
    exit_code: int = 0
    """Exit code that belongs to the signal that came; 0: none did."""


_ENDING = _Ending()


def prepare(message: str, longest_s: float = GRACE_S) -> None:
    """Set what this process says when a signal has ended its job, and how many seconds the job has for its end."""
    _ENDING.last_line, _ENDING.longest_s = message, longest_s


def end_within(longest_s: float = GRACE_S) -> None:
    """End the process in so many seconds, if a signal has come and it hasn't ended by itself."""
    if received():
        timer = threading.Timer(longest_s, _end_now)
        timer.daemon = True
        timer.start()


def last_line() -> str:
    """Return what this process says when a signal has ended its job."""
    return _ENDING.last_line


def received() -> int:
    """Return the exit code that belongs to the signal that this process has handled; 0: there was none.

    While a signal unwinds the job, any step may fail, since Ray's processes may have got the signal, too. It is the
    reason of the end all the same.
    """
    return _ENDING.exit_code


def end_in_time() -> None:
    """Start the thread that ends the process if it doesn't end in time after a signal, or at a second signal."""
    listening, telling = os.pipe()
    os.set_blocking(telling, False)
    signal.set_wakeup_fd(telling, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(listening,), name="interruption", daemon=True).start()


def leave(exit_code: int, message: str) -> NoReturn:
    """Print a last line and end the process at once, because other threads may still wait for a Ray that is gone.

    Args:
        exit_code: Exit code of the process.
        message: The line; empty: there is none.
    """
    with contextlib.suppress(OSError):  # nobody reads it, or a disk is full, which was the reason to leave
        write_out()
    if message:
        with contextlib.suppress(OSError):
            print(message, file=sys.stderr, flush=True)
    os._exit(exit_code)


def has_reader() -> bool:
    """Return whether somebody still reads what is printed; the system tells it of pipes and sockets."""
    asked = select.poll()
    asked.register(1, 0)
    return not any(told & (select.POLLERR | select.POLLHUP) for _, told in asked.poll(0))


def write_out() -> None:
    """Write out what was printed; raises OSError if it can't be."""
    if sys.stdout is not None:  # none: the shell has closed it
        sys.stdout.flush()


def print_any_name() -> None:
    """Have whatever isn't a letter of the output's encoding printed as an escape, such as a byte of a file's name."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _interrupt(number: int, _frame: FrameType | None) -> NoReturn:
    for further in _SIGNALS:  # the thread hears of them, and here they would cut off what unwinds the job
        _handle(further, _ignore)
    _ENDING.exit_code = 128 + number
    raise KeyboardInterrupt


def _end_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{NOTHING_BEGUN}\n".encode())
    os._exit(128 + number)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; unlike with SIG_IGN the thread is still told."""


def _watch(listening: int) -> None:
    _ENDING.exit_code = 128 + _next_signal(listening, timeout_s=None)  # while Ray starts, its own handler is told
    _next_signal(listening, timeout_s=_ENDING.longest_s)
    _end_now()


def _end_now() -> NoReturn:
    with contextlib.suppress(OSError):
        os.write(2, f"{last_line()}\n".encode())
    os._exit(_ENDING.exit_code)


def _next_signal(listening: int, timeout_s: float | None) -> int:
    """Return the number of the next SIGINT or SIGTERM; 0: there was none in time."""
    while select.select([listening], [], [], timeout_s)[0]:
        for number in os.read(listening, 1):
            if number in _SIGNALS:
                return number
    return 0
