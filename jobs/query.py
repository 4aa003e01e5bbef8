"""Ask the service: python -m jobs.query IMAGE... [--url http://127.0.0.1:8000]."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tyro

from jobs import console, formatting
from melanoma_ray.client import Client
from melanoma_ray.schema import Sex, Site


@dataclass(frozen=True, kw_only=True)
class QueryArguments:
    """Send images to a running service and print its answers."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Files."""
    age: float | None = None
    """Of the patient, years, for a model that uses metadata."""
    sex: Sex | None = None
    """Of the patient."""
    site: Site | None = None
    """Of the lesion."""
    url: str = "http://127.0.0.1:8000"
    """Of the service."""


def main(arguments: QueryArguments) -> None:
    """Print one line an image."""
    with Client(arguments.url) as client:
        for path in arguments.images:
            answer = client.predict(
                formatting.read_file(path), age=arguments.age, sex=arguments.sex, site=arguments.site
            )
            print(formatting.describe_answer(path.name, answer))


if __name__ == "__main__":
    console.run_job(main, QueryArguments)
