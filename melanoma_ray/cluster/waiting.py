"""Reports calls that wait for CPUs or GPUs: what they need, what the cluster has, who uses it, when the job gives up.

Ray waits for resources silently and for ever. So a call that needs them runs in a thread of its own, while the calling
thread checks every few seconds whether Ray is waiting. This also lets Ctrl-C work at once, whatever the call is doing.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import ray
from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled
from ray.autoscaler.v2.sdk import get_cluster_resource_state
from ray.exceptions import RpcError
from ray.util.state import list_actors
from ray.util.state.exception import RayStateApiException

from melanoma_ray.cluster.resources import count_of
from melanoma_ray.errors import ResourceError

logger = logging.getLogger(__name__)

Resources = Mapping[str, float]
ResultT = TypeVar("ResultT")
_LOOK_EVERY_S = 3.0
_TELL_AFTER_S = 12.0
"""Seconds of waiting before it is reported: Ray places within a second what there is room for, but a task that has just
ended needs a moment to free its resources."""
_STATE_TIMEOUT_S = 5
_NAMED_HOLDERS = 4
_patience_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """The resources that a step requests from Ray."""

    what: str
    """Name of the step, such as training or scoring."""
    resources: Resources
    """CPUs and GPUs of one worker or actor."""
    number: int = 1
    """Number of workers that must be placed together."""
    advice: str
    """How to request less on the command line, as a sentence without a full stop."""

    def __str__(self) -> str:
        """Return the request in words."""
        return f"{self.what} asks for {self.number} × {_in_words(self.resources)}"


def set_patience(minutes: float | None) -> None:
    """Set how long this process waits for resources, minutes; none: for ever.

    It is a setting of the whole process, like a log level.
    """
    global _patience_s  # noqa: PLW0603 - see above
    _patience_s = None if minutes is None else 60 * minutes


def wait_for(call: Callable[[], ResultT], request: Request) -> ResultT:
    """Return what a call returns; while Ray has no room for it, log that once, and give up after ``set_patience``.

    Args:
        call: Function to call in another thread.
        request: Resources that the call needs.

    Raises:
        ResourceError: There was no room for as long as this process waits, or the cluster is gone. The call still runs:
            who catches this must end the process or disconnect from Ray.
    """
    outcome = _Outcome[ResultT]()
    context = contextvars.copy_context()
    thread = threading.Thread(target=context.run, args=(outcome.take, call), name=request.what, daemon=True)
    thread.start()
    waiting_since: float | None = None
    is_told = False
    while not outcome.is_there.wait(_LOOK_EVERY_S):
        now = time.monotonic()
        if not is_stuck(request):
            waiting_since, is_told = None, False
            continue
        waiting_since = waiting_since or now
        if not is_told and now - waiting_since >= min(_TELL_AFTER_S, _patience_s or _TELL_AFTER_S):
            is_told = True
            logger.warning("waiting: %s; %s", describe(request), _outlook(request))
        if _patience_s is not None and now - waiting_since >= _patience_s:
            msg = f"no room within {_patience_s / 60:g} minutes (--wait-minutes): {describe(request)}; {request.advice}"
            raise ResourceError(msg)
    return outcome.get()


class _Outcome(Generic[ResultT]):
    """The result of a call in another thread: its value or its error."""

    def __init__(self) -> None:
        self.is_there = threading.Event()
        self.values: list[ResultT] = []
        self.error: BaseException | None = None

    def take(self, call: Callable[[], ResultT]) -> None:
        try:
            self.values.append(call())
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the calling thread
            self.error = error
        self.is_there.set()

    def get(self) -> ResultT:
        if self.error is not None:
            raise self.error
        return self.values[0]


def is_stuck(request: Request) -> bool:
    """Return whether a request of this job is in Ray's queue while no actor of the job runs with the same resources."""
    return _is_queued(request) and not any(
        actor.job_id == _job_id() and _is_same(_taken(actor), request.resources) for actor in _alive()
    )


def _is_queued(request: Request) -> bool:
    state = _state()
    job = _job_id()
    gangs = [
        dict(one.resources_bundle)
        for gang in state.pending_gang_resource_requests
        if gang.details.split(":")[0].endswith(job)  # a placement group's id ends with its job's
        for one in gang.requests
    ]
    single = [dict(one.request.resources_bundle) for one in state.pending_resource_requests]
    return any(_is_same(asked, request.resources) for asked in gangs + single)


def _state() -> Any:  # noqa: ANN401 - a message of Ray's
    """Return what the cluster has and is asked for.

    Raises:
        ResourceError: The cluster hasn't answered for as long as Ray itself asks again, a minute.
    """
    address = ray.get_runtime_context().gcs_address
    try:
        return get_cluster_resource_state(GcsClient(address))
    except RpcError as error:
        msg = f"the Ray cluster at {address} doesn't answer any more: see that its head runs, then start the job again"
        raise ResourceError(msg) from error


def _job_id() -> str:
    return str(ray.get_runtime_context().get_job_id())


def _alive() -> list[Any]:
    """Return the actors that run; an empty list if the state API doesn't answer now."""
    address = ray.get_runtime_context().gcs_address
    try:
        return list(list_actors(address, filters=[("state", "=", "ALIVE")], detail=True, timeout=_STATE_TIMEOUT_S))
    except (RayStateApiException, OSError, RuntimeError, ValueError):  # no answer, or none that can be read
        return []


def _taken(actor: Any) -> dict[str, float]:  # noqa: ANN401 - a row of Ray's state API
    """Return the CPUs and GPUs of an actor; within a placement group they bear the group's name."""
    asked: Resources = actor.required_resources or {}
    return {
        name: max((value for key, value in asked.items() if key == name or key.startswith(f"{name}_group_")), default=0)
        for name in ("CPU", "GPU")
    }


def _is_same(found: Resources, asked: Resources) -> bool:
    return all(abs(found.get(name, 0.0) - asked.get(name, 0.0)) < 1e-3 for name in ("CPU", "GPU"))


def describe(request: Request) -> str:
    """Return in one line what is requested, what the cluster has, and who uses it."""
    nodes = [node for node in _state().node_states if node.total_resources]
    total, free = (
        {name: sum(dict(getattr(node, part)).get(name, 0.0) for node in nodes) for name in ("CPU", "GPU")}
        for part in ("total_resources", "available_resources")
    )
    largest = max((dict(node.total_resources) for node in nodes), key=lambda one: one.get("CPU", 0.0), default={})
    there = f"there are {_in_words(total, zeros=True)}, free {_in_words(free, zeros=True)}"
    return f"{request}; {there}, in the largest node {_in_words(largest, zeros=True)}; {_holders()}"


def _holders() -> str:
    holding = Counter(
        (actor.class_name.removesuffix(".__init__"), actor.job_id) for actor in _alive() if any(_taken(actor).values())
    )
    named = [f"{count} × {name} of job {job}" for (name, job), count in holding.most_common(_NAMED_HOLDERS)]
    return f"held by {', '.join(named)}" if named else "no actor holds any"


def _outlook(request: Request) -> str:
    until = "until there is room" if _patience_s is None else f"for {_patience_s / 60:g} minutes (--wait-minutes)"
    return f"it waits {until}; {request.advice}"


def _in_words(resources: Resources, *, zeros: bool = False) -> str:
    parts = [count_of(resources.get(name, 0.0), name) for name in ("CPU", "GPU") if zeros or resources.get(name)]
    return " and ".join(parts) or "nothing"
