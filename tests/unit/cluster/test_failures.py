"""What is told of an error that came through Ray: its cause, in one line."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest
from ray.tune import TuneError

from melanoma_ray.cluster.failures import describe, find_cause
from melanoma_ray.errors import StorageError

FULL = OSError(errno.ENOSPC, "No space left on device", "study.log")
GONE = StorageError("s3://b: gone")


def raise_while_handling(error: Exception, other: Callable[[str], Exception]) -> None:
    """As Ray Tune's controller does with an error of the driver: the new one has the text of the old one alone."""

    def fail() -> None:
        raise error

    try:
        fail()
    except (OSError, StorageError) as caught:
        raise other(str(caught))  # noqa: B904 - as there


@pytest.mark.parametrize(
    ("error", "told"), [(FULL, "study.log: No space left on device; free"), (GONE, "s3://b: gone")]
)
def test_an_error_of_the_driver_is_found_behind_ray_tune_s(error: Exception, told: str) -> None:
    with pytest.raises(TuneError) as caught:
        raise_while_handling(error, TuneError)
    cause = find_cause(caught.value)
    assert cause is error
    assert describe(cause).startswith(told)


def test_a_mistake_made_while_an_error_was_handled_is_not_told_as_that_error() -> None:
    with pytest.raises(ValueError, match="No space left") as caught:
        raise_while_handling(FULL, ValueError)
    assert find_cause(caught.value) is None
