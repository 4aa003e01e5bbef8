"""What no answer may be, whatever was asked."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence

from melanoma_ray.api import PROBLEM_JSON
from melanoma_ray.serving.problems import PROBLEMS, TYPE_PREFIX
from tests.hostile.attack import ID_PREFIX, Attack
from tests.hostile.sending import Answer, Outcome

_GUARDED = (b'"melanoma_probability"', b'"data_fingerprint"', b'"probabilities"', b"\x89PNG", b'"heat_map"')
"""In predictions, the model card and explanations."""
_INTERNALS = (b"Traceback", b'File "', b"site-packages", b".py:", b"/melanoma_ray/", b"0x7f")
_UNAVAILABLE = {"alert-not-kept", "audit-not-kept"}
"""The only problems with a status of 500 or more that a client may ever get."""


def find_faults(outcome: Outcome, secrets: Sequence[bytes]) -> list[str]:
    """Return what is wrong with the answers to an attack.

    Args:
        outcome: The attack and its answers.
        secrets: Paths and keys that no answer may have.
    """
    return [
        fault
        for place, answer in enumerate(outcome.answers)
        for fault in (*_faults(outcome.attack, answer, secrets), *_id_faults(outcome.attack, answer, place))
    ]


def _faults(attack: Attack, answer: Answer, secrets: Sequence[bytes]) -> Iterator[str]:
    if answer.status >= 500 and not _is_unavailable(answer):
        yield f"status {answer.status}"
    if not attack.may_answer and not _is_public(answer) and any(mark in answer.body for mark in _GUARDED):
        yield "an answer without a valid credential"
    whole = answer.body + repr(answer.headers).encode()
    yield from (f"it has {mark!r}" for mark in (*_INTERNALS, *secrets) if mark in whole)
    if answer.is_ours:
        if answer.status >= 400 and answer.body:
            yield from _problem_faults(answer)
        if answer.status in range(300, 400):
            yield f"it leads to {answer.headers.get('location')}"
    if answer.status == 200 and b'"melanoma_probability"' in answer.body and not _is_public(answer):
        yield from _prediction_faults(json.loads(answer.body))


def _is_public(answer: Answer) -> bool:
    """Return whether it is a page or the description, which anybody may read, and which have the words of answers."""
    return answer.headers.get("content-type", "").startswith("text/html") or b'{"openapi":' in answer.body[:20]


def _id_faults(attack: Attack, answer: Answer, place: int) -> Iterator[str]:
    """Yield whether an answer is another's: the first one on a connection must have the id that was sent there."""
    found = answer.headers.get("x-request-id", "")
    is_other = found.startswith(ID_PREFIX) if place else found != attack.request_id
    if answer.is_ours and attack.request_id is not None and is_other:
        yield f"it is the answer to another request: {found}"


def _is_unavailable(answer: Answer) -> bool:
    return answer.status == 503 and any((TYPE_PREFIX + slug).encode() in answer.body for slug in _UNAVAILABLE)


def _problem_faults(answer: Answer) -> Iterator[str]:
    if answer.headers.get("content-type") != PROBLEM_JSON:
        yield f"content type {answer.headers.get('content-type')}"
        return
    problem = json.loads(answer.body)
    slug = str(problem["type"]).removeprefix(TYPE_PREFIX)
    if slug not in PROBLEMS or PROBLEMS[slug][0] != answer.status != 500:
        yield f"status {answer.status} and type {problem['type']}"
    if not all(problem.get(name) for name in ("title", "detail")) or "instance" not in problem:
        yield "a problem without its fields"


def _prediction_faults(message: object) -> Iterator[str]:
    """Yield what is wrong with probabilities, wherever they are in a message."""
    if isinstance(message, list):
        for one in message:
            yield from _prediction_faults(one)
    if not isinstance(message, dict):
        return
    for name, value in message.items():
        if name == "probabilities" and value and not math.isclose(sum(value.values()), 1, abs_tol=1e-3):
            yield f"probabilities {value}"
        yield from _prediction_faults(value)
