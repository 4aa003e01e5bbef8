"""On a cluster: the outbox lives with one named Ray actor, on the node that has its disk; it restarts when it dies.

The actor is detached, so it outlives the job, and is bound to the node by a Ray resource (``node_resource``), which the
node that mounts the disk must offer: a restart on any other node would find no file. Recording is repeated by Ray when
the actor dies meanwhile, which makes no alert twice. While the node is gone, ``record`` waits for it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray

from melanoma_ray.alerts.dispatcher import SendingResult, pack_all, send_forever, summarize
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.rules import Alert
from melanoma_ray.alerts.settings import AlertSettings
from melanoma_ray.errors import AlertError, ConfigError

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
_TELL_AFTER_S = 15.0
"""Seconds of waiting for the actor after which that is told: to start it takes some."""
_GIVE_UP_S = 1800.0
"""Longest time to wait for the node with the outbox's disk, seconds."""
NAMESPACE = "melanoma-ray-alerts"


class OutboxActor:
    """Keeps and sends alerts until it is killed."""

    def __init__(self, settings: AlertSettings) -> None:
        """Open the outbox and start sending what is in it."""
        self._settings = settings
        self._is_over = threading.Event()
        self._sender = self._start(settings)

    def record(self, alerts: Sequence[Alert], settings: AlertSettings) -> int:
        """Keep alerts on the disk and return how many are new; sending goes on by these settings from now on.

        Raises:
            AlertError: They can't be written, or sending has failed.
        """
        is_changed = settings != self._settings or not self._sender.is_alive()
        if is_changed:  # before anything is packed, or the sender that is there would send it by the old settings
            self._is_over.set()
            self._sender.join()
        try:
            with Outbox(settings.outbox) as outbox:
                num_new = outbox.record(alerts)
                pack_all(outbox, settings)
        finally:
            if is_changed:
                self._settings, self._is_over = settings, threading.Event()
                self._sender = self._start(settings)
        return num_new

    def process_id(self) -> int:
        """Return the id of the actor's process on its node."""
        return os.getpid()

    def summarize(self) -> SendingResult:
        """Return where all deliveries stand."""
        with Outbox(self._settings.outbox) as outbox:
            return summarize(outbox, self._settings)

    def _start(self, settings: AlertSettings) -> threading.Thread:
        Outbox(settings.outbox).close()  # raises here what would end the thread
        thread = threading.Thread(target=send_forever, args=(settings, self._is_over), name="alerts", daemon=True)
        thread.start()
        return thread


def find_actor(settings: AlertSettings) -> Any:  # noqa: ANN401 - Ray's handles have no type
    """Return the handle of the actor of an outbox; it is started if it isn't there.

    Raises:
        ConfigError: The cluster has several nodes, and the settings don't say which has the outbox's disk.
    """
    num_nodes = sum(node["Alive"] for node in ray.nodes())
    if settings.node_resource is None and num_nodes > 1:
        msg = (
            f"node_resource: needed on a cluster of {num_nodes} nodes, to say which of them has the disk with"
            f" {settings.outbox}; docs/alerts.md tells how"
        )
        raise ConfigError(msg)
    name = hashlib.sha256(settings.outbox.encode()).hexdigest()[:16]
    resources = {settings.node_resource: 0.001} if settings.node_resource else {}
    return (
        ray.remote(OutboxActor)
        .options(
            name=name,
            namespace=NAMESPACE,
            get_if_exists=True,
            lifetime="detached",
            max_restarts=-1,
            max_task_retries=-1,
            num_cpus=0,
            resources=resources,
        )
        .remote(settings)
    )


def keep_on_cluster(settings: AlertSettings, alerts: Sequence[Alert], *, timeout_s: float) -> SendingResult:
    """Give alerts to the actor of their outbox, and wait until nothing waits or the time is over.

    Args:
        settings: Settings of the alerts.
        alerts: The alerts.
        timeout_s: Longest time to wait for sinks, seconds.

    Raises:
        AlertError: The alerts can't be written, or the node with the outbox's disk doesn't come.
    """
    actor = find_actor(settings)
    _wait_for_node(actor.record.remote(alerts, settings), settings)
    deadline = time.monotonic() + timeout_s
    while True:
        result: SendingResult = ray.get(actor.summarize.remote())
        if not result.num_sendable or time.monotonic() >= deadline:
            return result
        time.sleep(_LOOK_EVERY_S)


def check_node(settings: AlertSettings) -> None:
    """Check that a node offers the resource of the outbox's disk, before work that takes long is started.

    Raises:
        ConfigError: None does.
    """
    name = settings.node_resource
    if name is not None and name not in ray.cluster_resources():
        msg = (
            f"node_resource={name!r}: no node of the cluster offers it; start the one that has the disk with"
            f" {settings.outbox} by ray start --resources='{{\"{name}\": 1}}'"
        )
        raise ConfigError(msg)


def _wait_for_node(kept: Any, settings: AlertSettings) -> None:  # noqa: ANN401 - Ray's references have no type
    """Wait until the actor has kept alerts; tell when its node isn't there, and give up some day."""
    done, _ = ray.wait([kept], timeout=_TELL_AFTER_S)
    where = f"the node that offers {settings.node_resource!r} and has the disk with {settings.outbox}"
    if not done:
        logger.warning("alerts: they aren't kept yet: waiting for %s", where)
        done, _ = ray.wait([kept], timeout=_GIVE_UP_S)
    if not done:
        msg = (
            f"alerts: they aren't kept: {where} didn't come in {_GIVE_UP_S / 60:g} minutes; run the same command again"
        )
        raise AlertError(msg)
    ray.get(kept)
