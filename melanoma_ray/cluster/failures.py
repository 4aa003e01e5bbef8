"""Finds the cause of an error that Ray raises: the error of this project, or of the system, in some worker."""

from __future__ import annotations

from collections.abc import Iterator

from ray.exceptions import RayError, RayTaskError
from ray.train.v2.api.exceptions import TrainingFailedError

from melanoma_ray import storage
from melanoma_ray.errors import MelanomaRayError

_HINT_OF_RAY = "\nFailed to apply UDF transform"
"""With it Ray Data begins a paragraph about its own settings, at the end of an error of ours."""


def find_cause(error: BaseException) -> MelanomaRayError | OSError | None:
    """Return the error of this project or of the system that caused an error, or is it; none: it is a bug."""
    for one in _behind(error, set()):
        if isinstance(one, MelanomaRayError | OSError) and not isinstance(one, RayError):  # Ray makes wrappers of both
            return one
    return None


def describe(cause: MelanomaRayError | OSError) -> str:
    """Return what a user is told of a foreseeable error: what happened, and for a disk or a store also a way out."""
    text = storage.explain(cause) if isinstance(cause, OSError) else str(cause)
    return text.partition(_HINT_OF_RAY)[0]


def _behind(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Yield an error and all errors that caused it, including those inside Ray's wrappers."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    if isinstance(error, RayTaskError):
        yield from _behind(error.cause if isinstance(error.cause, BaseException) else None, seen)
    if isinstance(error, TrainingFailedError):
        for failure in getattr(error, "worker_failures", {}).values():
            yield from _behind(failure, seen)
        yield from _behind(getattr(error, "controller_failure", None), seen)
    if type(error).__name__ == "TuneError":  # Ray Tune keeps the text alone of the error that it was handling
        yield from _behind(error.__context__, seen)
    yield from _behind(error.__cause__, seen)
