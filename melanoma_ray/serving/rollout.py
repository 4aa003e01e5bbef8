"""A new checkpoint in place of the one that is served: checked before anything changes, and taken back by one command.

What is served, and what was served before it, stand in the arguments of the running replicas, which Serve keeps: so
they outlive the process that deployed them, and need no file of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ray import serve
from ray.serve.exceptions import RayServeException

from melanoma_ray import storage
from melanoma_ray.errors import CheckpointError, ConfigError, DataError, DecodeError, ServiceError
from melanoma_ray.imaging.decoding import READABLE_ENDINGS
from melanoma_ray.inference.agreement import draw_crops
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import Manifest, find_checkpoint, read_manifest
from melanoma_ray.serving.arguments import ServiceArguments

APPLICATION = "melanoma_ray"
_ANSWER_S = 30.0
"""Longest time to wait for a replica to tell its arguments, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutCheck:
    """What a new checkpoint must do before it is served in place of another."""

    images: str | None = None
    """Folder with sample images, which both checkpoints are asked about; none: drawn lesions, and the new one alone."""
    max_changed_fraction: float = 0.1
    """Largest share of the sample images that may get another decision than from the checkpoint before, in [0, 1]."""


def find_current() -> ServiceArguments | None:
    """Return what the running service serves, and what it served before; none: no service runs.

    Raises:
        ServiceError: It runs and doesn't answer.
    """
    if APPLICATION not in serve.status().applications:
        return None
    try:
        handle = serve.get_app_handle(APPLICATION)
        found: ServiceArguments = handle.tell_arguments.remote().result(timeout_s=_ANSWER_S)
    except (TimeoutError, RayServeException) as error:
        msg = f"the service that runs doesn't tell what it serves ({error}); see `serve status`, or stop it"
        raise ServiceError(msg) from error
    return found


_GUARDS = {"keys": "--keys", "oidc": "--oidc", "audit_log": "--audit-log", "alerts": "--alerts"}
"""Arguments without which a service would answer anybody, or tell nobody, with the flag of each."""


def succeed(new: ServiceArguments, current: ServiceArguments) -> ServiceArguments:
    """Return new arguments that remember what they replace; threads that aren't set stay as they are.

    Raises:
        ConfigError: The new ones lack what guards the service that runs: its address is open to as many as before.
    """
    lost = [
        f"{flag} {getattr(current, name)}"
        for name, flag in _GUARDS.items()
        if getattr(current, name) is not None and getattr(new, name) is None
    ]
    if lost:
        msg = f"the service that runs has {', '.join(lost)}: give that again, or stop the service and start it without"
        raise ConfigError(msg)
    before = current.model_copy(update={"previous": None})
    return new.model_copy(update={"previous": before, "num_threads": new.num_threads or current.num_threads})


def go_back(current: ServiceArguments) -> ServiceArguments:
    """Return the arguments that were served before, which remember what is served now; what guards it stays.

    Raises:
        ServiceError: Nothing was served before.
    """
    if current.previous is None:
        msg = f"{current.checkpoint} is the first that this service has served: there is nothing to go back to"
        raise ServiceError(msg)
    guards = {name: getattr(current, name) for name in _GUARDS}
    return succeed(current.previous.model_copy(update=guards), current)


def check_candidate(checkpoint: str, current: str, check: RolloutCheck) -> None:
    """Refuse a checkpoint that can't be served in place of another one.

    Args:
        checkpoint: The new checkpoint.
        current: The checkpoint that is served.
        check: What the new one must do.

    Raises:
        CheckpointError: It is damaged or incompatible, has no answer for a sample image, or decides too many of them in
            another way.
        DataError: There are no sample images in the folder.
    """
    new, old = read_manifest(find_checkpoint(checkpoint)), read_manifest(find_checkpoint(current))
    check_compatible(checkpoint, new, old)
    predictor = Predictor.load(checkpoint, "cpu")
    if check.images is None:
        decided = predictor.predict(draw_crops(predictor.image.side))
        _check_answered(checkpoint, decided.is_answered.tolist(), "drawn lesions")
        return
    images = _read_images(check.images)
    told = [_decide(predictor, image) for image in images]
    _check_answered(checkpoint, [one is not None for one in told], f"images of {check.images}")
    before = Predictor.load(current, "cpu")
    num_changed = sum(one != _decide(before, image) for one, image in zip(told, images, strict=True))
    if num_changed > check.max_changed_fraction * len(images):
        msg = (
            f"checkpoint {checkpoint}: decides {num_changed} of {len(images)} images of {check.images} in another way "
            f"than {current}: at most {check.max_changed_fraction:.0%} may change (--max-changed-fraction)"
        )
        raise CheckpointError(msg)


def check_compatible(checkpoint: str, new: Manifest, old: Manifest) -> None:
    """Refuse a model whose answers callers would read as something else.

    Args:
        checkpoint: Where it lies, for the message.
        new: Its manifest.
        old: The manifest of the model that is served.

    Raises:
        CheckpointError: They differ in their diagnoses, or in what they refer for.
    """
    for name in ("diagnoses", "referred_for"):
        found, expected = getattr(new, name), getattr(old, name)
        if found != expected:
            what = f"{name}={found!r}: expected {expected!r}, as served"
            msg = f"checkpoint {checkpoint}: {what}; serve it apart, or stop the service first"
            raise CheckpointError(msg)


def _check_answered(checkpoint: str, answered: Sequence[bool], what: str) -> None:
    if not all(answered):
        msg = f"checkpoint {checkpoint}: no finite answer for {answered.count(False)} of {len(answered)} {what}"
        raise CheckpointError(msg)


def _decide(predictor: Predictor, encoded: bytes) -> str | None:
    """Return the decision about an image; none: the network's answer isn't finite."""
    try:
        pixels = predictor.decode(encoded)
    except DecodeError as error:
        return error.fault
    (assessment,) = predictor.predict(np.stack([pixels])).assess(predictor.manifest.diagnoses)
    return assessment.decision if assessment.error is None else None


def _read_images(folder: str) -> list[bytes]:
    files = [file for file in storage.list_files(folder) if file[file.rfind(".") :].lower() in READABLE_ENDINGS]
    if not files:
        msg = f"{folder}: no images to check the checkpoint with"
        raise DataError(msg)
    return [storage.read_bytes(file) for file in files]
