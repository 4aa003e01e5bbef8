"""The Serve application: number and size of its replicas, and the length of its queue.

This module has no ``from __future__ import annotations``: Serve reads the type of ``build_app``'s parameter to turn
the ``args`` of a serve.yaml into ``ServiceArguments``, and can't do so where the annotation is a string.
"""

from ray import serve
from ray.serve.config import AutoscalingConfig, BackpressureConfig

from melanoma_ray.access.keys import read_key_file
from melanoma_ray.access.tokens import read_token_settings
from melanoma_ray.alerts.settings import read_settings
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest, read_weights
from melanoma_ray.serving.arguments import MAX_ONGOING_REQUESTS, ServiceArguments
from melanoma_ray.serving.rollout import DEPLOYMENT, check_compatible
from melanoma_ray.serving.routes import build_http
from melanoma_ray.serving.service import Service
from melanoma_ray.storage import absolute

_MAX_QUEUED_REQUESTS = 16
"""Most requests that wait for a replica, beside those that it has: together half a second of work for two CPUs. More
get HTTP 429 and come back after a second, so a shorter queue makes them wait longer (``benchmarks/overload.py``)."""
_SECOND = ("canary", "shadow")
_CHECKPOINTS = ("checkpoint", *_SECOND)
_FILES = ("alerts", "keys", "oidc", "audit_log")
"""Arguments that are paths, but for those of checkpoints."""
_REQUESTS_PER_THREAD = 2
"""Requests that a thread of a replica has, answered or waiting, from which on there are to be more replicas."""
_UPSCALE_DELAY_S = 5.0
"""How long it must have more, seconds."""


def build_app(arguments: ServiceArguments) -> serve.Application:
    """Build the application; ``import_path`` of deploy/serve.yaml.

    Raises:
        CheckpointError: A checkpoint doesn't exist, is damaged or has another format version, or the second one has
            other diagnoses than the first.
        ConfigError: The settings of alerts, the file of keys, or that of tokens, can't be read.
    """
    arguments = make_absolute(arguments)
    _check_whole(arguments.checkpoint)  # here, because a replica would report only that it failed
    if arguments.alerts is not None:
        read_settings(arguments.alerts)  # here for the same reason; only the secrets are for the outbox's node to read
    if arguments.keys is not None:
        read_key_file(arguments.keys)
    if arguments.oidc is not None:
        read_token_settings(arguments.oidc)
    for name in _SECOND:
        if (second := getattr(arguments, name)) is not None:
            _check_whole(second)
            check_compatible(second, read_manifest(second), read_manifest(arguments.checkpoint))
    return bind_app(arguments)


def bind_app(arguments: ServiceArguments) -> serve.Application:
    """Return the application of arguments that were checked before: nothing that they name is read.

    Args:
        arguments: What is served, with paths by which all nodes find what they name.
    """
    as_deployment = serve.deployment(
        name=DEPLOYMENT,
        **_count_replicas(arguments),
        ray_actor_options={"num_cpus": arguments.num_cpus, "num_gpus": arguments.num_gpus},
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=_MAX_QUEUED_REQUESTS,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        max_surge_percent=100,  # a new checkpoint's replica starts before the old one stops: no gap
        graceful_shutdown_wait_loop_s=0.25,  # by default it is asked every 2 s whether the last answer has been given
        max_constructor_retry_count=2,  # Serve's default is 20, but what fails to load twice will always fail
    )
    return as_deployment(serve.ingress(build_http)(Service)).bind(arguments)


def make_absolute(arguments: ServiceArguments) -> ServiceArguments:
    """Return arguments with the paths by which all nodes find what they name.

    Raises:
        CheckpointError: A checkpoint doesn't exist.
    """
    found = {name: value for name in (*_CHECKPOINTS, *_FILES) if (value := getattr(arguments, name)) is not None}
    return arguments.model_copy(
        update={
            name: absolute(find_checkpoint(value) if name in _CHECKPOINTS else value) for name, value in found.items()
        }
    )


def _check_whole(checkpoint: str) -> None:
    """Refuse a checkpoint of which not all can be read."""
    read_weights(checkpoint, read_manifest(checkpoint))


def _count_replicas(arguments: ServiceArguments) -> dict[str, object]:
    """Return how many replicas Serve starts: a number, or as many as the requests that wait need."""
    if arguments.max_replicas is None:
        return {"num_replicas": arguments.num_replicas}
    num_threads = arguments.num_threads or max(1, int(arguments.num_cpus))
    return {
        "autoscaling_config": AutoscalingConfig(
            min_replicas=arguments.num_replicas,
            max_replicas=arguments.max_replicas,
            target_ongoing_requests=_REQUESTS_PER_THREAD * num_threads,
            upscale_delay_s=_UPSCALE_DELAY_S,
        )
    }
