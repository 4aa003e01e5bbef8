"""Settings of alerts for a job that a test or a benchmark starts: every alert becomes a line of a file."""

from __future__ import annotations

from pathlib import Path

_SETTINGS = """
outbox = "{folder}/outbox.db"
[[rules]]
name = "melanoma"
sinks = ["log"]
[[sinks]]
name = "log"
kind = "file"
path = "{folder}/alerts.jsonl"
"""


def write_settings(folder: Path) -> Path:
    """Write alerts.toml into a folder, which gets outbox.db and alerts.jsonl, too."""
    file = folder / "alerts.toml"
    file.write_text(_SETTINGS.format(folder=folder))
    return file
