"""The service's answers as lines, and files to ask about, without what only a model needs: seconds of imports."""

from __future__ import annotations

from pathlib import Path

from melanoma_ray import storage
from melanoma_ray.api import DECISION_WORDS, Prediction, describe_share
from melanoma_ray.errors import DataError

MOST_BYTES = 256 * 1024 * 1024
"""Largest file that is read, bytes: several times what a service takes by default, and no device without an end."""


def describe_answer(name: str, answer: Prediction) -> str:
    """Return the service's answer for one image as one line."""
    mark = " [synthetic model]" if answer.is_synthetic else ""
    if answer.melanoma_probability is None:
        return f"{name}: {DECISION_WORDS[answer.decision]}; no answer: {answer.error}{mark}"
    top, share = max(answer.probabilities.items(), key=lambda item: item[1])
    melanoma, threshold = describe_share(answer.melanoma_probability), describe_share(answer.decision_threshold)
    sure = f"{answer.referred_for} {melanoma} (threshold {threshold})"
    predicted = f"; predicted: {answer.diagnosis}" if answer.diagnosis not in {None, top} else ""
    likely = f"most probable: {top} {describe_share(share)}{predicted}"
    return f"{name}: {DECISION_WORDS[answer.decision]}; {sure}; {likely}{mark}"


def read_file(path: Path, what: str = "an image") -> bytes:
    """Return a file's bytes; a pipe is read to its end.

    Args:
        path: Of the file.
        what: What is expected there, for messages.

    Raises:
        DataError: The path is a folder, or the file can't be read or has more than ``MOST_BYTES``.
    """
    place = Path(storage.absolute(str(path)))
    if place.is_dir():
        msg = f"{path}: a folder; expected a file"
        raise DataError(msg)
    try:
        with place.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        msg = f"{path}: {error.strerror}; give the path of {what}"
        raise DataError(msg) from error
    if len(content) > MOST_BYTES:
        msg = f"{path}: more than {MOST_BYTES / 2**20:g} MiB; give the path of {what}"
        raise DataError(msg)
    return content
