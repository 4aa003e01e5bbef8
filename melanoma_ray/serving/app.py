"""The Serve application: number and size of its replicas, and the length of its queue.

This module has no ``from __future__ import annotations``: Serve reads the type of ``build_app``'s parameter to turn
the ``args`` of a serve.yaml into ``ServiceArguments``, and can't do so where the annotation is a string.
"""

from ray import serve
from ray.serve.config import BackpressureConfig

from melanoma_ray.access.keys import read_key_file
from melanoma_ray.alerts.settings import read_settings
from melanoma_ray.model.checkpoint import find_checkpoint, read_manifest, read_weights
from melanoma_ray.serving.routes import build_http
from melanoma_ray.serving.service import MAX_ONGOING_REQUESTS, Service, ServiceArguments
from melanoma_ray.storage import absolute

_MAX_QUEUED_REQUESTS = 64
"""Most requests that wait at each proxy: less than a second of work for two CPUs; more get HTTP 429."""


def build_app(arguments: ServiceArguments) -> serve.Application:
    """Build the application; ``import_path`` of deploy/serve.yaml.

    Raises:
        CheckpointError: The checkpoint doesn't exist, is damaged or has another format version.
        ConfigError: The settings of alerts, or the file of keys, can't be read.
    """
    checkpoint = absolute(find_checkpoint(arguments.checkpoint))
    read_weights(checkpoint, read_manifest(checkpoint))  # here, because a replica would report only that it failed
    as_deployment = serve.deployment(
        num_replicas=arguments.num_replicas,
        ray_actor_options={"num_cpus": arguments.num_cpus, "num_gpus": arguments.num_gpus},
        max_ongoing_requests=MAX_ONGOING_REQUESTS,
        max_queued_requests=_MAX_QUEUED_REQUESTS,
        backpressure_config=BackpressureConfig(status_code=429, retry_after_s=1),
        max_surge_percent=100,  # a new checkpoint's replica starts before the old one stops: no gap
        max_constructor_retry_count=2,  # Serve's default is 20, but what fails to load twice will always fail
    )
    deployment = as_deployment(serve.ingress(build_http)(Service))
    alerts = None if arguments.alerts is None else absolute(arguments.alerts)
    if alerts is not None:
        read_settings(alerts)  # here for the same reason; only the secrets are for the outbox's node to read
    keys = None if arguments.keys is None else absolute(arguments.keys)
    if keys is not None:
        read_key_file(keys)
    return deployment.bind(arguments.model_copy(update={"checkpoint": checkpoint, "alerts": alerts, "keys": keys}))
