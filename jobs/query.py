"""Query the service: python -m jobs.query IMAGE|FOLDER... [--url http://127.0.0.1:8000] [--format json|table]."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import sys
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import tyro
from tqdm import tqdm

from melanoma_ray import storage
from melanoma_ray.api import ModelCard, Prediction
from melanoma_ray.client import AsyncClient, is_key
from melanoma_ray.errors import DataError, NoAnswerError, ServiceError
from melanoma_ray.ranges import Range, check_ranges
from melanoma_ray.schema import Sex, Site
from melanoma_ray.sources.listing import list_source
from melanoma_ray.wording import count, list_kinds

from . import answers, console

KEY_VARIABLE = "MELANOMA_KEY"
"""Environment variable that has the key."""
_TABLES, _CONTAINERS = "tables", "containers of images, which jobs.predict reads"
_MOST_IN_A_ROW = 8
"""Images in a row about which the service couldn't be asked, each several times, before no more are asked about: more
than one image alone can cause, by whatever it does to a replica."""
_NOT_ASKED = "not asked about, since the service had stopped answering"
Format = Literal["lines", "json", "table"]
Writer = Callable[["Answer"], None]


@dataclass(frozen=True, kw_only=True)
class QueryArguments:
    """Send images to a running service and print its answers as they come, in the order of the images."""

    INTERRUPTED: ClassVar[str] = "interrupted; the images that were printed are answered, no others"

    images: tyro.conf.Positional[tuple[Path, ...]]
    """Image files to send, and folders of which all images are sent, those in folders below them too, as jobs.predict
    finds them."""
    format: Format = "lines"
    """lines: a sentence an image; json: a JSON object a line; table: CSV with a row an image. Both of the latter also
    have the images without an answer, with the reason in error."""
    age: float | None = None
    """Age of the patient, years; used by models that use metadata."""
    sex: Sex | None = None
    """Sex of the patient; used by models that use metadata."""
    site: Site | None = None
    """Site of the lesion on the body; used by models that use metadata."""
    url: str = "http://127.0.0.1:8000"
    """Address of the service."""
    num_requests: Annotated[int, Range(1, 64)] = 4
    """Images that are asked about at a time, 1 to 64."""
    ca_file: Path | None = None
    """File of certificates, PEM, by one of which an https:// service's own is signed; by default the public ones."""
    certificate: Path | None = None
    """File of a certificate chain of one's own, PEM, for a service that asks for one; by default none is shown."""
    certificate_key: Path | None = None
    """File of its private key, PEM, without a password; by default that of the certificate."""
    key_file: Path | None = None
    """File with the key for a service that asks for one; by default the environment variable MELANOMA_KEY."""

    def __post_init__(self) -> None:
        """Check ranges."""
        check_ranges(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What became of one image."""

    path: Path
    prediction: Prediction | None = None
    error: str | None = None
    """Why there is no prediction."""
    is_lost: bool = False
    """Whether that is because the service couldn't be asked, however often that was tried."""

    @property
    def reason(self) -> str | None:
        """Why the image has no answer; none: it has one. A prediction may say itself that it has none."""
        return self.error if self.prediction is None else self.prediction.error


def main(arguments: QueryArguments) -> None:
    """Print the answer for each image, and on stderr why others have none.

    Raises:
        DataError: There are no images on the command line or in a folder.
        ServiceError: There is no service, or it gave no answer for some of the images.
    """
    if not arguments.images:
        msg = "no image given: python -m jobs.query IMAGE|FOLDER... [--url ADDRESS]"
        raise DataError(msg)
    key = _read_key(arguments.key_file)
    paths = [path for given in arguments.images for path in _list_images(given)]
    num_failed, num_unasked = asyncio.run(_query(paths, arguments, key))
    if num_failed:
        msg = f"no answer for {num_failed} of {count(len(paths), 'image')}"
        if num_unasked:
            msg += f"; the last {num_unasked} were {_NOT_ASKED}: see what became of it, and give the command again"
        raise ServiceError(msg)


def _list_images(given: Path) -> list[Path]:
    """Return the images in a folder, sorted, and say what else is in it; a file is itself."""
    root = storage.absolute(str(given))
    if not Path(root).is_dir():
        return [given]
    listing = list_source(root, most_readings=1)
    passed_over = listing.passed_over + Counter({_TABLES: len(listing.tables), _CONTAINERS: len(listing.containers)})
    others = list_kinds(+passed_over)
    if not listing.images:
        msg = f"{given}: no image in it" + (f"; passed over: {others}" if others else "")
        raise DataError(msg)
    if others:
        print(f"{given}: passed over: {others}", file=sys.stderr)
    return [given / info.path[len(root) :].lstrip("/") for info in listing.images]


async def _query(paths: list[Path], arguments: QueryArguments, key: str | None) -> tuple[int, int]:
    """Print all answers; return how many images have none, and how many of these weren't asked about."""
    num_failed = num_unasked = 0
    own = arguments.certificate
    certificate = None if own is None else (own, arguments.certificate_key or own)
    async with AsyncClient(arguments.url, key=key, ca_file=arguments.ca_file, certificate=certificate) as client:
        card = await client.model()  # so that a missing service is reported once, not for each image
        write = _start_writing(arguments.format, card)
        with tqdm(total=len(paths), unit="image", disable=None, file=sys.stderr) as bar:
            async for answer in _ask_all(client, paths, arguments):
                bar.clear()  # or a line would be written into it
                num_failed += answer.reason is not None
                num_unasked += answer.reason == _NOT_ASKED
                if answer.reason not in {None, _NOT_ASKED}:
                    print(f"{_show(answer.path)}: {answer.reason}", file=sys.stderr)
                write(answer)
                bar.update()
    return num_failed, num_unasked


async def _ask_all(client: AsyncClient, paths: Sequence[Path], arguments: QueryArguments) -> AsyncIterator[Answer]:
    """Yield the answers in the order of the images, while the next few are asked about, until the service is gone."""
    running: deque[asyncio.Task[Answer]] = deque()
    num_asked = num_done = num_lost = 0
    try:
        while num_done < len(paths) and num_lost < _MOST_IN_A_ROW:
            while num_asked < len(paths) and len(running) < arguments.num_requests:
                running.append(asyncio.create_task(_ask(client, paths[num_asked], arguments)))
                num_asked += 1
            answer = await running.popleft()
            num_done += 1
            num_lost = num_lost + 1 if answer.is_lost else 0
            yield answer
    finally:
        for task in running:
            task.cancel()
    for path in paths[num_done:]:
        yield Answer(path=path, error=_NOT_ASKED)


async def _ask(client: AsyncClient, path: Path, arguments: QueryArguments) -> Answer:
    try:
        encoded = await asyncio.to_thread(answers.read_file, path)
    except DataError as error:
        return Answer(path=path, error=str(error).removeprefix(f"{path}: "))
    try:
        prediction = await client.predict(encoded, age=arguments.age, sex=arguments.sex, site=arguments.site)
    except ServiceError as error:
        return Answer(path=path, error=str(error), is_lost=isinstance(error, NoAnswerError))
    return Answer(path=path, prediction=prediction)


def _start_writing(kind: Format, card: ModelCard) -> Writer:
    """Return what prints an answer, after the head of a table."""
    if kind == "lines":
        return _write_line
    if kind == "json":
        return lambda answer: print(json.dumps(_to_record(answer), ensure_ascii=False), flush=True)
    line = io.StringIO()
    table = csv.DictWriter(line, [*_to_row(Answer(path=Path()), card)], lineterminator="\n")

    def print_line() -> None:
        print(line.getvalue(), end="", flush=True)
        line.seek(0)
        line.truncate()

    def write_row(answer: Answer) -> None:
        table.writerow(_to_row(answer, card))
        print_line()

    table.writeheader()
    print_line()
    return write_row


def _write_line(answer: Answer) -> None:
    if answer.prediction is not None:
        print(answers.describe_answer(_show(answer.path), answer.prediction), flush=True)


def _show(path: Path) -> str:
    """Return a path as part of a line: what is no letter of it, such as a byte that isn't UTF-8, is escaped."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in str(path))


def _to_record(answer: Answer) -> dict[str, Any]:
    """Return an answer as the service gives it, with the path; without one, the path and the reason."""
    if answer.prediction is None:
        return {"path": str(answer.path), "error": answer.error}
    return {"path": str(answer.path)} | answer.prediction.model_dump()


def _to_row(answer: Answer, card: ModelCard) -> dict[str, Any]:
    """Return an answer as the row of a table: the columns of predictions.parquet, then what else an answer says."""
    given = answer.prediction
    return {
        "image_id": answer.path.stem,
        "path": answer.path,
        **{f"probability_{name.replace(' ', '_')}": given and given.probabilities.get(name) for name in card.diagnoses},
        "melanoma_probability": given and given.melanoma_probability,
        "predicted_diagnosis": given and given.diagnosis,
        "prediction_set": given and given.prediction_set and "; ".join(given.prediction_set),
        "decision": given and given.decision,
        "warnings": given and "; ".join(given.warnings),
        "error": answer.reason,
        "runtime": given and given.runtime,
        "decision_threshold": given and given.decision_threshold,
        "checkpoint_id": given and given.checkpoint_id,
    }


def _read_key(file: Path | None) -> str | None:
    """Return the key; none: none is given. It is no argument, since every user of a machine sees those."""
    if file is None:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    else:
        key = answers.read_file(file, "a file with a key").decode("utf-8-sig", "replace").strip()
    if (key or file is not None) and not is_key(key):
        words = count(len(key.split()), "word")
        msg = f"{file or KEY_VARIABLE}: {words}; expected a key alone, as the last line that jobs.keys create prints"
        raise DataError(msg)
    return key or None


if __name__ == "__main__":
    console.run_job(main, QueryArguments)
