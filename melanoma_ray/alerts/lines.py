"""A file with one message a line, as JSON: for a log collector, or to see what would be sent."""

from __future__ import annotations

import json
import os
from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.alerts.outbox import Message
from melanoma_ray.alerts.settings import FileSink
from melanoma_ray.alerts.webhook import build_payload
from melanoma_ray.errors import SinkError


class LineFile:
    """Appends messages to one file."""

    def __init__(self, settings: FileSink) -> None:
        """Keep the settings; nothing is written."""
        self._path = Path(settings.path).expanduser().absolute()

    def send(self, message: Message) -> str:
        """Append a line; it is confirmed when the disk has it."""
        line = json.dumps(build_payload(message), ensure_ascii=False, allow_nan=False).encode() + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "ab+", opener=_open_private) as file:  # Path.open has no opener
                file.write(_end_of_broken_line(file.tell(), self._path) + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise SinkError(storage.explain(error, str(self._path))) from error
        return f"{self._path}: written"

    def close(self) -> None:
        """Nothing stays open."""


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _end_of_broken_line(num_bytes: int, path: Path) -> bytes:
    """Return a line's end if the file doesn't end with one, because a process was killed while it wrote."""
    if not num_bytes:
        return b""
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return b"" if file.read(1) == b"\n" else b"\n"
