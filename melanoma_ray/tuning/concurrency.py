"""How many trials of a sweep run at a time: computed again for each trial, because a cluster grows on demand."""

from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.tune.search import ConcurrencyLimiter, Searcher

from melanoma_ray.cluster.resources import LOADING_CPUS, is_local, total_cpus, total_gpus

DRIVER_CPUS = 0.1
"""CPUs of a trial's own process where workers do the work, for which it only waits."""


class RoomLimiter(ConcurrencyLimiter):
    """Limits a searcher's proposals to as many trials as there is room for, and on a cluster one more.

    That one waits for resources, so that a cluster that can grow does. Without a limit Ray Tune would propose all
    trials at once, and the searcher could learn nothing from the first ones.
    """

    def __init__(self, searcher: Searcher, takes: dict[str, float]) -> None:
        """Start with the limit for the resources of this moment.

        Args:
            searcher: Searcher that proposes the settings.
            takes: CPUs and GPUs of a trial, without those of the tasks that load its images.
        """
        self._takes = takes
        super().__init__(searcher, max_concurrent=num_at_a_time(takes))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the settings of the next trial; none: it must wait."""
        self.max_concurrent = num_at_a_time(self._takes)
        settings: dict[str, Any] | None = super().suggest(trial_id)
        return settings


def takes_of_trial(scaling: ScalingConfig | None) -> dict[str, float]:
    """Return the CPUs and GPUs of a trial: those of its workers and of the process that waits for them, or its own."""
    if scaling is None or scaling.max_workers == 0:
        gpus = (scaling.resources_per_worker or {}).get("GPU", 1.0) if scaling and scaling.use_gpu else 0.0
        return {"CPU": 1.0} | ({"GPU": float(gpus)} if gpus else {})
    takes = dict(scaling.total_resources)
    return takes | {"CPU": takes.get("CPU", 1.0) + DRIVER_CPUS}


def num_that_fit(takes: dict[str, float]) -> int:
    """Return how many trials can run at a time and still leave CPUs to load images with; 1 or more."""
    room = total_cpus() / (takes["CPU"] + LOADING_CPUS)
    if takes.get("GPU"):
        room = min(room, total_gpus() / takes["GPU"])
    return max(1, int(room))


def num_at_a_time(takes: dict[str, float]) -> int:
    """Return how many trials may be proposed: on a cluster one more than fit.

    It isn't one more if that one could start and leave no CPUs to load images with.
    """
    fit, cpus = num_that_fit(takes), total_cpus()
    if is_local():
        return fit
    next_one = (fit + 1) * takes["CPU"]
    would_starve_loading = cpus - LOADING_CPUS < next_one <= cpus
    return fit if would_starve_loading else fit + 1
