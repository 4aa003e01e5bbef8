"""Ask the service: python -m jobs.query IMAGE... [--url http://127.0.0.1:8000]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs import console, wording
from melanoma_ray.client import Client


@dataclass(frozen=True, kw_only=True)
class QueryArguments:
    """Send images to a running service and print its answers."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Files."""
    url: str = "http://127.0.0.1:8000"
    """Of the service."""


def main(arguments: QueryArguments) -> None:
    """Print one line an image."""
    with Client(arguments.url) as client:
        for path in arguments.images:
            print(wording.describe_answer(path.name, client.predict(wording.read_file(path))))


if __name__ == "__main__":
    console.run(main, QueryArguments)
