"""Query the service: python -m jobs.query IMAGE... [--url http://127.0.0.1:8000]."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from melanoma_ray.client import Client
from melanoma_ray.errors import DataError, ServiceError
from melanoma_ray.schema import Sex, Site

from . import console, formatting

KEY_VARIABLE = "MELANOMA_KEY"
"""Environment variable that has the key."""


@dataclass(frozen=True, kw_only=True)
class QueryArguments:
    """Send images to a running service and print its answers."""

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files to send."""
    age: float | None = None
    """Age of the patient, years; used by models that use metadata."""
    sex: Sex | None = None
    """Sex of the patient; used by models that use metadata."""
    site: Site | None = None
    """Site of the lesion on the body; used by models that use metadata."""
    url: str = "http://127.0.0.1:8000"
    """Address of the service."""
    ca_file: Path | None = None
    """File of certificates, PEM, by one of which an https:// service's own is signed; by default the public ones."""
    key_file: Path | None = None
    """File with the key for a service that asks for one; by default the environment variable MELANOMA_KEY."""


def main(arguments: QueryArguments) -> None:
    """Print one line for each image, also for those without an answer.

    Raises:
        DataError: There are no images on the command line.
        ServiceError: There is no service, or it gave no answer for some of the images.
    """
    if not arguments.images:
        msg = "no image given: python -m jobs.query IMAGE... [--url ADDRESS]"
        raise DataError(msg)
    if all(path.is_dir() for path in arguments.images):
        formatting.read_file(arguments.images[0])
    with Client(arguments.url, key=_read_key(arguments.key_file), ca_file=arguments.ca_file) as client:
        client.model()  # so that a missing service is reported once, not for each image
        failed = [path for path in arguments.images if not _ask(client, path, arguments)]
    if failed:
        msg = f"no answer for {len(failed)} of {len(arguments.images)} images"
        raise ServiceError(msg)


def _read_key(file: Path | None) -> str | None:
    """Return the key; none: none is given. It is no argument, since every user of a machine sees those."""
    if file is None:
        return os.environ.get(KEY_VARIABLE) or None
    key = formatting.read_file(file).decode("ascii", "replace").strip()
    if not key:
        msg = f"{file}: is empty; expected a key as jobs.keys create prints it"
        raise DataError(msg)
    return key


def _ask(client: Client, path: Path, arguments: QueryArguments) -> bool:
    """Print the answer for one image, or why there is none; return whether there is one."""
    try:
        encoded = formatting.read_file(path)
        answer = client.predict(encoded, age=arguments.age, sex=arguments.sex, site=arguments.site)
    except DataError as error:
        print(error, file=sys.stderr)
        return False
    except ServiceError as error:
        print(f"{path}: {error}", file=sys.stderr)
        return False
    print(formatting.describe_answer(str(path), answer))
    return True


if __name__ == "__main__":
    console.run_job(main, QueryArguments)
