"""What libraries say about themselves goes into a log file; the console is for the jobs, and for errors.

Lines reach a job's console by three ways: through ``sys.stderr`` from this process's loggers, from workers whose
output Ray forwards (``workarounds.hide_chatter_of_workers``), and from Ray's C++ part through descriptor 2. On each of
them a line is judged by its form, which tells its source and its level: what is an error, or of no known form, passes.
This module needs the standard library alone, since it also runs as a process of its own, between descriptor 2 and the
console.
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
from typing import BinaryIO

_TIME = r"\d{4}-\d\d-\d\d [\d:,]+"
_CHATTER = (
    re.compile(rf"\[{_TIME} [DIW] \d+ \d+\] "),  # Ray's C++
    # What it calls an error is its own bookkeeping: what goes wrong in a task comes back as an exception, too.
    re.compile(rf"\[{_TIME} E \d+ \d+\] (\(\w+\) )?core_worker\w*\.cc:"),
    re.compile(rf"{_TIME}\t(DEBUG|INFO|WARNING) \S+\.py:\d+ -- "),  # Ray's Python
    re.compile(rf"(DEBUG|INFO|WARNING) {_TIME} .*? -- "),  # Ray Serve
    re.compile(r"[IW]\d{4} \d\d:\d\d:[\d.]+ +\d+ \S+\.cc:\d+\] |[IW]0000 00:00:[\d.]+ +\d+ \S+\.cc:\d+\] "),  # gRPC
    re.compile(r"WARNING: All log messages before absl::InitializeLog\(\)"),
    re.compile(r"\S*site-packages\S*\.py:\d+: \w*Warning: "),  # warnings of libraries
)
_HELPERS = frozenset({"PlacementGroupCleaner"})
"""Ray's own actors on which no result depends: this one tidies up after a controller that died."""
_OURS = frozenset({"melanoma_ray", "melanoma_ray_jobs", "jobs", "__main__"})


class Judge:
    """Tells chatter from what a person must see, line by line of one source."""

    def __init__(self) -> None:
        """Begin with nothing hidden."""
        self._is_hiding = False

    def is_chatter(self, line: str, actor: str = "") -> bool:
        """Tell whether a line is below an error and from a library; what is indented belongs to the line before it.

        Args:
            line: As it was written, without its end.
            actor: Class of the Ray actor that wrote it, if one did.
        """
        if not (self._is_hiding and line[:1].isspace()):
            self._is_hiding = actor in _HELPERS or any(form.match(line) for form in _CHATTER)
        return self._is_hiding


class HiddenLog:
    """The file of what isn't shown; it goes again when it stays empty."""

    def __init__(self) -> None:
        """Open a new file that only this user can read."""
        handle, self.path = tempfile.mkstemp(prefix="melanoma-ray-", suffix=".log")
        self._file = os.fdopen(handle, "a", buffering=1, encoding="utf-8")

    def write(self, line: str) -> None:
        """Append one line."""
        self._file.write(line.rstrip("\n") + "\n")

    def close(self) -> str:
        """Return what to tell the user, which is nothing where nothing was hidden."""
        self._file.close()
        path = Path(self.path)
        number = path.read_bytes().count(b"\n")
        if not number:
            path.unlink()
            return ""
        return f"{number} {'line' if number == 1 else 'lines'} of Ray's own messages: {path}"


class _Console(io.TextIOWrapper):
    """Standard error without chatter: ``logging`` and ``warnings`` write each message as one text."""

    def __init__(self, descriptor: int, log: HiddenLog) -> None:
        super().__init__(os.fdopen(descriptor, "wb"), errors="backslashreplace", line_buffering=True)
        self._log, self._judge = log, Judge()

    def write(self, text: str) -> int:
        if text.isspace() or not self._judge.is_chatter(text):
            return super().write(text)
        self._log.write(text)
        return len(text)


class OnlyOurs(logging.Filter):
    """Lets a handler show what this project logs, and errors of anyone; the rest goes into the log."""

    def __init__(self, log: HiddenLog) -> None:
        """Filter into a log."""
        super().__init__()
        self._log = log

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is shown."""
        if record.levelno >= logging.ERROR or record.name.split(".")[0] in _OURS:
            return True
        self._log.write(f"{record.levelname} {record.name}: {record.getMessage()}")
        return False


class _ToConsole(logging.Handler):
    """Writes to whatever ``sys.stderr`` is by then, so that it can be redirected."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


@contextmanager
def quiet_console() -> Iterator[HiddenLog]:
    """Keep chatter off the console for a while, and say at the end where it stands.

    Python's own ``sys.stderr`` goes on to the console, a terminal where it was one. Descriptor 2, to which C code
    writes, leads to a filter that is a process of its own: what C code writes last, before it takes this process
    down, must still be shown.
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
    """Write chatter to the log and the rest to the console, each line at once."""
    judge = Judge()
    for line in lines:
        target = log if judge.is_chatter(line.decode(errors="replace")) else console
        target.write(line)
        target.flush()


if __name__ == "__main__":
    with Path(sys.argv[1]).open("ab") as hidden:
        pass_on(iter(sys.stdin.buffer.readline, b""), hidden, sys.stderr.buffer)
