"""A new checkpoint in place of the one that is served: checked before anything changes, and taken back by one command.

What is served, and what was served before it, stand in the arguments of the replicas, which Serve's controller keeps:
so they outlive the process that deployed them and the replicas themselves, and need no file of their own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import ray
from ray import serve

from melanoma_ray import storage
from melanoma_ray.cluster.resources import is_local
from melanoma_ray.cluster.served import find_init_arguments
from melanoma_ray.errors import CheckpointError, ConfigError, DataError, DecodeError, ServiceError
from melanoma_ray.inference.agreement import draw_crops
from melanoma_ray.inference.predictor import Predictor
from melanoma_ray.model.checkpoint import Manifest, find_checkpoint, read_manifest
from melanoma_ray.serving.arguments import ServiceArguments
from melanoma_ray.sources.listing import list_source
from melanoma_ray.wording import list_kinds

APPLICATION = "melanoma_ray"
DEPLOYMENT = "Service"
"""Name by which Serve knows what it runs of the application."""
_ANSWER_S = 30.0
"""Longest time to wait for Serve to tell the arguments, seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RolloutCheck:
    """What a new checkpoint must do before it is served in place of another."""

    images: str | None = None
    """Folder with sample images, which both checkpoints are asked about; none: drawn lesions, and the new one alone."""
    max_changed_fraction: float = 0.1
    """Largest share of the sample images that may get another decision than from the checkpoint before, in [0, 1]."""


class _Turn:
    """Has a name of the cluster for as long as the job that took it: Ray ends it with the job, however that ends."""

    def started(self) -> None:
        """Return once it has started."""


@contextmanager
def take_turn() -> Iterator[None]:
    """Change what is served while no other job of the cluster does: each would take what it found for what it replaces.

    Raises:
        ServiceError: Another job is changing it.
    """
    if is_local():  # then this job is the only one
        yield
        return
    try:
        turn = ray.remote(num_cpus=0)(_Turn).options(name="rollout", namespace=APPLICATION).remote()
    except ValueError as error:  # the name is taken
        msg = "another job is changing what this cluster serves: wait until it has ended, and give the command again"
        raise ServiceError(msg) from error
    try:
        ray.get(turn.started.remote())
        yield
    finally:
        ray.kill(turn)


def find_current() -> ServiceArguments | None:
    """Return what the service of this cluster serves, and what it served before it, whether or not it can answer.

    Returns:
        Its arguments; none: no service runs.

    Raises:
        ServiceError: Serve doesn't tell.
    """
    if APPLICATION not in serve.status().applications:
        return None
    try:
        found = find_init_arguments(APPLICATION, DEPLOYMENT, wait_s=_ANSWER_S)
    except TimeoutError as error:
        msg = (
            f"Ray Serve doesn't tell within {_ANSWER_S:g} s what it serves: see its controller's log in Ray's dashboard"
        )
        raise ServiceError(msg) from error
    return None if found is None else found[0]


_GUARDS = {
    "keys": "--keys",
    "oidc": "--oidc",
    "audit_log": "--audit-log",
    "alerts": "--alerts",
    "requests_per_minute": "--requests-per-minute",
    "max_concurrent": "--max-concurrent",
}
"""Arguments without which a service would answer anybody, or as much as anybody asks, or tell nobody; their flags."""


def succeed(new: ServiceArguments, current: ServiceArguments) -> ServiceArguments:
    """Return new arguments that remember what they replace; threads that aren't set stay as they are.

    The same arguments again replace nothing: what was served before them stays the way back.

    Raises:
        ConfigError: The new ones lack what guards the service that runs: its address is open to as many as before.
    """
    lost = [
        f"{flag} {getattr(current, name)}"
        for name, flag in _GUARDS.items()
        if getattr(current, name) is not None and getattr(new, name) is None
    ]
    if lost:
        msg = f"the service that runs has {', '.join(lost)}: give that again, or stop it by --stop and start it without"
        raise ConfigError(msg)
    kept = {
        "previous": current.previous,
        "num_threads": new.num_threads or current.num_threads,
        "takes_certificates": current.takes_certificates,  # what stands in front asks for them or doesn't, as it began
    }
    again = new.model_copy(update=kept)
    if again == current:
        return again
    return again.model_copy(update={"previous": current.model_copy(update={"previous": None})})


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


def check_candidate(checkpoint: str, current: str, check: RolloutCheck) -> list[str]:
    """Refuse a checkpoint that can't be served in place of another one; return what its check didn't look at.

    Args:
        checkpoint: The new checkpoint.
        current: The checkpoint that is served.
        check: What the new one must do.

    Raises:
        CheckpointError: It is damaged or incompatible, has no answer for a sample image, or decides too many of them in
            another way.
        DataError: There are no sample images in the folder, or none that can be read.
    """
    new = read_manifest(find_checkpoint(checkpoint))
    try:
        old = read_manifest(find_checkpoint(current))
    except CheckpointError as error:
        msg = (
            f"{checkpoint} can't be compared with what is served now, whose checkpoint is gone or damaged ({error}): "
            "put that back, go back by --rollback, or stop the service by --stop and start it with the new one"
        )
        raise CheckpointError(msg) from error
    check_compatible(checkpoint, new, old)
    predictor = Predictor.load(checkpoint, "cpu")
    if check.images is None:
        decided = predictor.predict(draw_crops(predictor.image.side))
        _check_answered(checkpoint, decided.is_answered.tolist(), "drawn lesions")
        return []
    listing = list_source(storage.absolute(check.images))
    if not listing.images:
        msg = f"{check.images}: no images to check the checkpoint with"
        raise DataError(msg)
    notes = [f"{check.images}: not checked with {list_kinds(listing.passed_over)}"] if listing.passed_over else []
    before = Predictor.load(current, "cpu")
    told = [(_decide(predictor, info.path), _decide(before, info.path)) for info in listing.images]
    return notes + _compare(told, checkpoint, current, check)


def _compare(told: Sequence[tuple[str | None, str | None]], new: str, old: str, check: RolloutCheck) -> list[str]:
    """Refuse a model that has no answer for an image, or decides too many in another way; return what wasn't compared.

    Args:
        told: What the new model and the old one decide about each image. One that neither can read says nothing of
            either, so it isn't counted.
        new: Checkpoint of the new model.
        old: Checkpoint of the old one.
        check: What the new one must do.
    """
    what = f"images of {check.images}"
    read = [both for both in told if both != (_UNREADABLE, _UNREADABLE)]
    unread = f"{len(told) - len(read)} of {len(told)} {what} can't be read"
    if all(decision == _UNREADABLE for decision, _ in told):
        msg = (
            f"checkpoint {new}: can't read any of the {len(told)} {what}: give some that the service may be asked about"
        )
        raise DataError(msg)
    beside = f" ({unread})" if len(read) < len(told) else ""
    _check_answered(new, [decision is not None for decision, _ in read], what + beside)
    num_changed = sum(decision != before for decision, before in read)
    if num_changed > check.max_changed_fraction * len(read):
        msg = (
            f"checkpoint {new}: decides {num_changed} of {len(read)} {what} in another way than {old}{beside}: "
            f"at most {check.max_changed_fraction:.0%} may change (--max-changed-fraction)"
        )
        raise CheckpointError(msg)
    return [f"{unread}, so they weren't compared"] if beside else []


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
            msg = f"checkpoint {checkpoint}: {what}; serve it apart, or stop the service first, by --stop"
            raise CheckpointError(msg)


def _check_answered(checkpoint: str, answered: Sequence[bool], what: str) -> None:
    if not all(answered):
        msg = f"checkpoint {checkpoint}: no finite answer for {answered.count(False)} of {len(answered)} {what}"
        raise CheckpointError(msg)


_UNREADABLE = "unreadable"
"""In place of a decision."""


def _decide(predictor: Predictor, path: str) -> str | None:
    """Return the decision about an image, or that it can't be read; none: the network's answer isn't finite."""
    try:
        pixels = predictor.decode(storage.read_bytes(path))
    except (DecodeError, OSError):
        return _UNREADABLE
    (assessment,) = predictor.predict(np.stack([pixels])).assess(predictor.manifest.diagnoses)
    return assessment.decision if assessment.error is None else None
