"""A line for each step of the demo, with its time; the output of the jobs themselves is written to one file."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from shutil import get_terminal_size
from typing import TypeVar

Result = TypeVar("Result")

_REFRESH_S = 0.5
_VERB_WIDTH, _TIME_WIDTH = 10, 7


class Steps:
    """Runs steps one after the other; on a terminal the line of the current step shows its progress."""

    def __init__(self, log: Path) -> None:
        """Create the file for the output of the jobs."""
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("")
        self.log, self._console = log, sys.stdout

    def run(self, verb: str, call: Callable[[], Result], describe: Callable[[Result], str]) -> Result:
        """Run a step, print a line about its result, and return the result.

        Args:
            verb: Name of the step.
            call: Function that does the step.
            describe: Function that returns a few words on the result.
        """
        started, told = time.monotonic(), f"failed; its output: {self.log}"
        try:
            with self._live(verb), self._into_log():
                print(f"\n== {verb}")
                result = call()
            told = describe(result)
        finally:
            self._show(verb, told, started, end="\n")
        return result

    @contextmanager
    def _into_log(self) -> Iterator[None]:
        with self.log.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
            yield

    def _show(self, verb: str, what: str, started: float, *, end: str) -> None:
        width = get_terminal_size((100, 24)).columns - _VERB_WIDTH - _TIME_WIDTH - 2
        start, rest = ("\r", "\x1b[K") if self._console.isatty() else ("", "")
        shown = what if end else what[:width]
        spent = f"{time.monotonic() - started:.0f} s"
        self._console.write(f"{start}{verb:{_VERB_WIDTH}}{spent:>{_TIME_WIDTH}}  {shown}{rest}{end}")
        self._console.flush()

    @contextmanager
    def _live(self, verb: str) -> Iterator[None]:
        """On a terminal, show the newest line of the file next to the time while the block runs."""
        if not self._console.isatty():
            yield
            return
        is_done, started = threading.Event(), time.monotonic()

        def show() -> None:
            while not is_done.wait(_REFRESH_S):
                lines = self.log.read_text(errors="replace").split("\n")
                newest = next((line for line in reversed(lines) if line.strip()), "")
                self._show(verb, newest.split("\r")[-1], started, end="")

        thread = threading.Thread(target=show, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_done.set()
            thread.join()
