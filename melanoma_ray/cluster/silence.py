"""Moves libraries' own log lines from the console to a log file; the console shows the jobs' lines, and errors.

Lines reach a job's console in three ways: through ``sys.stderr`` from this process's loggers, from workers whose
output Ray forwards (``workarounds.hide_chatter_of_workers``), and from Ray's C++ part through descriptor 2. In each of
them a line is recognised by its form, which shows its source and level; errors and lines of unknown form are shown.
This module imports only the standard library, because it also runs as a process of its own, between descriptor 2 and
the console.
"""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Literal

_TIME = r"\d{4}-\d\d-\d\d [\d:,]+"
_CHATTER = (
    re.compile(rf"\[{_TIME} [DIW] \d+ \d+\] "),  # Ray's C++
    # What it logs as errors here is internal bookkeeping; an error in a task is also raised as an exception.
    re.compile(rf"\[{_TIME} E \d+ \d+\] (\(\w+\) )?core_worker\w*\.cc:"),
    # An actor was told to end that had ended already.
    re.compile(rf"\[{_TIME} E \d+ \d+\] \(gcs_server\) gcs_actor_scheduler\.cc:\d+: Failed to kill actor "),
    re.compile(rf"{_TIME}\t(DEBUG|INFO|WARNING) \S+\.py:\d+ -- "),  # Ray's Python
    re.compile(rf"(DEBUG|INFO|WARNING) {_TIME} .*? -- "),  # Ray Serve
    re.compile(r"[IW]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+\.cc:\d+\] |[IW]0000 00:00:[\d.]+ +\d+ \S+\.cc:\d+\] "),  # gRPC
    re.compile(r"\[[IW]\d{4} \d\d:\d\d:[\d.]+ \S+\.cpp:\d+\] "),  # torch's C++
    re.compile(r"WARNING: All log messages before absl::InitializeLog\(\)"),
    # Ray Data in its own actors writes no level
    re.compile(r"Progress bars disabled\. To enable, set `ray\.data|Progress will be logged because stdout is"),
    re.compile(r"(Starting execution|Execution plan) of Dataset \w+[:.]|\u2714\ufe0f? +Dataset \w+ execution finished"),
    re.compile(r"Task ServeController\.graceful_shutdown failed\. There are infinite retries"),  # it was told to end
    re.compile(r"\S*site-packages\S*\.py:\d+: \w*Warning: "),  # warnings of libraries
)
_TRACED = (re.compile(r"Failed to send resource request for \S+\. If this only happens transiently"),)
"""What Ray tries again by itself, on a machine that is busy, and yet logs with a traceback."""
_CLUMSY_END = re.compile(r"\[mutex\.cc : \d+\] RAW: Check waitp != nullptr failed: UnlockSlow is confused")
"""First line of a worker's crash dump where a thread of Ray's own statistics still ran at the worker's end (Ray 2.60,
on busy machines). Whatever it was working on was finished, or Ray raises an error of its own for the lost worker."""
_HELPERS = frozenset({"PlacementGroupCleaner", "_StatsActor"})
"""Ray's own actors on which no result depends: one cleans up after a controller that died, one gathers Ray Data's
figures, and on a busy machine either may crash when its job ends."""
_OURS = frozenset({"melanoma_ray", "melanoma_ray_jobs", "jobs", "__main__"})


class Judge:
    """Decides which lines of one source to hide, line by line."""

    def __init__(self, *, of_worker: bool = False) -> None:
        """Start with nothing hidden.

        Args:
            of_worker: Whether the source is one of Ray's workers, whose end isn't the end of the job.
        """
        self._of_worker = of_worker
        self._is_hiding = self._is_ending = False
        self._traceback: Literal["none", "expected", "inside"] = "none"
        """Whether what comes next is the traceback of a hidden line."""

    def is_chatter(self, line: str, actor: str = "") -> bool:
        """Return whether a line is from a library and less than an error; indented lines go with the line before.

        Args:
            line: The line, without its end.
            actor: Class of the Ray actor that wrote it; empty: none did.
        """
        if self._of_worker and _CLUMSY_END.match(line):
            self._is_ending = True
        if self._is_ending:
            return True
        if self._traceback == "inside":
            self._traceback = "inside" if line[:1].isspace() else "none"  # the error itself is the last line of it
            return True
        if self._traceback == "expected" and line.startswith("Traceback (most recent call last)"):
            self._traceback = "inside"
            return True
        if not (self._is_hiding and line[:1].isspace()):
            is_traced = any(form.match(line) for form in _TRACED)
            self._traceback = "expected" if is_traced else "none"
            self._is_hiding = is_traced or actor in _HELPERS or any(form.match(line) for form in _CHATTER)
        return self._is_hiding


class HiddenLog:
    """The log file of hidden lines, which is deleted if it stays empty."""

    def __init__(self) -> None:
        """Open a new file that only this user can read."""
        handle, self.path = tempfile.mkstemp(prefix="melanoma-ray-", suffix=".log")
        self._file = os.fdopen(handle, "a", buffering=1, encoding="utf-8")

    def write(self, line: str) -> None:
        """Append one line."""
        self._file.write(line.rstrip("\n") + "\n")

    def close(self) -> str:
        """Close the file; return a line about it for the user, which is empty if nothing was hidden."""
        self._file.close()
        path = Path(self.path)
        number = path.read_bytes().count(b"\n") if path.exists() else 0  # whoever tidies up /tmp may have taken it
        if not number:
            path.unlink(missing_ok=True)
            return ""
        return f"{number} {'line' if number == 1 else 'lines'} of libraries' own messages: {path}"


class _Console(io.TextIOWrapper):
    """Standard error without hidden lines; ``logging`` and ``warnings`` write each message with one call."""

    def __init__(self, descriptor: int, log: HiddenLog) -> None:
        super().__init__(os.fdopen(descriptor, "wb"), errors="backslashreplace", line_buffering=True)
        self._log, self._judge = log, Judge()

    def write(self, text: str) -> int:
        if text.isspace() or not self._judge.is_chatter(text):
            return super().write(text)
        self._log.write(text)
        return len(text)


class OnlyOurs(logging.Filter):
    """A filter that passes this project's records and all errors, and writes others to the log file."""

    def __init__(self, log: HiddenLog) -> None:
        """Keep the log file."""
        super().__init__()
        self._log = log

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a record."""
        if record.levelno >= logging.ERROR or record.name.split(".")[0] in _OURS:
            return True
        self._log.write(f"{record.levelname} {record.name}: {record.getMessage()}")
        return False


class _ToConsole(logging.Handler):
    """A handler that writes to the current ``sys.stderr``, so that it can be redirected."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


@contextmanager
def quiet_console() -> Iterator[HiddenLog]:
    """Hide libraries' own lines inside this context, and print at the end where they are.

    Python's ``sys.stderr`` still writes to the console directly. Descriptor 2, to which C code writes, leads to a
    filter that is a process of its own, because what C code writes last, before it ends this process, must still be
    shown.
    """
    log = HiddenLog()
    console, before = os.dup(2), sys.stderr
    sys.stderr = _Console(os.dup(2), log)
    command = [sys.executable, "-I", "-S", __file__, log.path]
    judge = subprocess.Popen(  # noqa: S603 - this very file
        command, stdin=subprocess.PIPE, stderr=console, start_new_session=True
    )
    assert judge.stdin is not None
    os.dup2(judge.stdin.fileno(), 2)
    judge.stdin.close()
    handler = _ToConsole()
    handler.addFilter(OnlyOurs(log))
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    try:
        yield log
    finally:
        sys.stderr.flush()
        before.flush()
        os.dup2(console, 2)
        os.close(console)
        sys.stderr = before
        with suppress(subprocess.TimeoutExpired):
            judge.wait(timeout=2)  # a process that outlives this one may still hold the descriptor
        if told := log.close():
            print(told, file=before)


def pass_on(lines: Iterable[bytes], log: BinaryIO, console: BinaryIO) -> None:
    """Write lines to hide to the log and all others to the console, without delay.

    Args:
        lines: Lines of one source.
        log: Log file.
        console: The console.
    """
    judge = Judge()
    for line in lines:
        target = log if judge.is_chatter(line.decode(errors="replace")) else console
        target.write(line)
        target.flush()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab") as hidden:
        pass_on(iter(sys.stdin.buffer.readline, b""), hidden, sys.stderr.buffer)
