"""What Ray Serve was told to run: a work-around apart from the others, because importing Serve takes half a second."""

from __future__ import annotations

from typing import Any

import ray
from ray.serve._private.deployment_info import DeploymentInfo
from ray.serve.context import _get_global_client
from ray.serve.generated.serve_pb2 import DeploymentRoute


def find_init_arguments(application: str, deployment: str, *, wait_s: float) -> tuple[Any, ...] | None:
    """Return what a deployment of Serve was last told to start its replicas with; none: Serve has no such deployment.

    Serve's public functions tell none of it, and a replica can only be asked while one is up. Here Serve's controller
    is asked, which keeps it in the cluster's own store.

    Args:
        application: Name of the application.
        deployment: Name of the deployment.
        wait_s: Longest time to wait for the controller, seconds.

    Raises:
        TimeoutError: The controller doesn't answer.
    """
    client = _get_global_client(raise_if_no_controller_running=False)
    if client is None:
        return None
    asked = client._controller.get_deployment_info.remote(deployment, application)  # noqa: SLF001 - as the docstring says
    try:
        route = DeploymentRoute.FromString(ray.get(asked, timeout=wait_s))
    except KeyError:  # which Ray raises as an error that is also the original one
        return None
    return tuple(DeploymentInfo.from_proto(route.deployment_info).replica_config.init_args)
