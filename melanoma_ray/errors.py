"""Every error that this project raises on purpose, and the rule for their messages.

    MelanomaRayError
    ├── ConfigError         a setting is out of its range, or two settings contradict each other
    ├── DataError           a collection or a prepared dataset can't be used
    │   ├── NoImagesError   there is no image in a folder
    │   ├── DecodeError     one image can't be used; preparation puts it into quarantine
    │   └── StorageError    a file or a directory can't be read or written; it is an OSError too
    ├── ResourceError       the machine or the cluster has no room for what is requested
    ├── TrainingError       a run or a sweep ended without weights
    │   └── RunHeldError    another process is at work on it
    ├── CheckpointError     a checkpoint is missing, damaged or of another format version
    ├── MetricError         a metric isn't defined for these images
    ├── ServiceError        the service can't start, or doesn't answer as agreed
    │   └── NoAnswerError   it couldn't be reached, stayed too busy, or didn't answer in time
    └── AlertError          an alert can't be kept
        └── SinkError       a sink didn't confirm a message

A message has what is wrong, its value, what is allowed and what to do. Ray pickles what a worker raises, so an error
with fields of its own defines in ``__reduce__`` how to build it again.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial


class MelanomaRayError(Exception):
    """Base of all errors raised on purpose; the message is meant to be shown to the user."""


class ConfigError(MelanomaRayError):
    """A setting is out of its range, or contradicts another one."""


class DataError(MelanomaRayError):
    """A collection of images, or a prepared dataset, can't be used."""


class NoImagesError(DataError):
    """A folder or a container is there, and no image is in it."""


class DecodeError(DataError):
    """One encoded image can't be turned into pixels.

    Attributes:
        fault: Name of the reason, one of ``schema.FAULTS``.
        detail: Description of what exactly is wrong with the image.
    """

    def __init__(self, fault: str, detail: str) -> None:
        """Keep both fields, so that quarantine can store them in columns of their own."""
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        """Rebuild from the two fields; by default it would be from the message, which joins them."""
        return type(self), (self.fault, self.detail)


class StorageError(DataError, OSError):
    """A file or a directory can't be read or written; it is also an OSError, for code that handles that."""


class ResourceError(MelanomaRayError):
    """The machine or cluster doesn't have the CPUs or GPUs that are requested, or they didn't become free in time."""


class TrainingError(MelanomaRayError):
    """A run, or all trials of a sweep, ended without weights."""


class RunHeldError(TrainingError):
    """Another process holds the directory of a run or a sweep."""


class CheckpointError(MelanomaRayError):
    """A checkpoint directory is missing, damaged or of another format version."""


class MetricError(MelanomaRayError):
    """A metric is not defined for these images."""


class ServiceError(MelanomaRayError):
    """The service can't be started, or doesn't answer as agreed."""


class NoAnswerError(ServiceError):
    """The service couldn't be reached, stayed too busy or didn't answer in time; later it may answer."""


class AlertError(MelanomaRayError):
    """An alert can't be kept in the outbox, or the outbox can't be used."""


class SinkError(AlertError):
    """A sink didn't confirm a message.

    Attributes:
        is_refusal: Whether the same message will most likely never be taken: a person has to look.
        retry_after_s: Time after which the sink asks to be tried again, seconds; none: it didn't say.
    """

    def __init__(self, message: str, *, is_refusal: bool = False, retry_after_s: float | None = None) -> None:
        """Keep the fields beside the message."""
        super().__init__(message)
        self.is_refusal = is_refusal
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[Callable[..., SinkError], tuple[str]]:
        """Rebuild with the fields; by default they would be lost."""
        rebuild = partial(SinkError, is_refusal=self.is_refusal, retry_after_s=self.retry_after_s)
        return rebuild, (str(self),)
