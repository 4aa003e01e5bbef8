"""Every error this project raises on purpose, and the one rule they share.

    MelanomaRayError
    ├── ConfigError         a setting out of its range, or two that contradict each other
    ├── DataError           a collection or a prepared dataset that can't be used
    │   └── DecodeError     one image that can't be used: it goes to quarantine
    ├── TrainingError       a run or a sweep that came to no weights
    ├── CheckpointError     a checkpoint of another format, damaged, or not there
    ├── MetricError         a figure that isn't defined for these images
    └── ServiceError        the service can't start, or doesn't answer

The message says what is wrong, its value, what is allowed and what to do. Errors cross process
borders (Ray pickles what a worker raises), so an error with fields of its own says in
``__reduce__`` how to build it again.
"""

from __future__ import annotations


class MelanomaRayError(Exception):
    """Base of all errors raised on purpose; its text is fit to be shown to the user."""


class ConfigError(MelanomaRayError):
    """A setting is out of its range, or contradicts another one."""


class DataError(MelanomaRayError):
    """A collection of images, or a prepared dataset, can't be used."""


class DecodeError(DataError):
    """One encoded image can't be turned into pixels.

    Attributes:
        fault: Name of the reason, one of ``schema.FAULTS``.
        detail: What exactly was met, for a person.
    """

    def __init__(self, fault: str, detail: str) -> None:
        """Keep the reason apart from the text, so that quarantine can store both."""
        super().__init__(f"{fault}: {detail}")
        self.fault = fault
        self.detail = detail

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        """Rebuild from the two fields, not from the joined text."""
        return type(self), (self.fault, self.detail)


class TrainingError(MelanomaRayError):
    """A run, or all trials of a sweep, ended without weights."""


class CheckpointError(MelanomaRayError):
    """A checkpoint directory is missing, damaged or of another format version."""


class MetricError(MelanomaRayError):
    """A figure of merit is not defined for these images."""


class ServiceError(MelanomaRayError):
    """The service can't be started, or doesn't answer as agreed."""
