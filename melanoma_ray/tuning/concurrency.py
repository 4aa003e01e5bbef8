"""How many trials of a sweep run at a time: asked anew for each trial, since a cluster grows while it is asked for."""

from __future__ import annotations

from typing import Any

from ray.train import ScalingConfig
from ray.tune.search import ConcurrencyLimiter, Searcher

from melanoma_ray.cluster.resources import LOADING_CPUS, is_local, total_cpus, total_gpus

DRIVER_CPUS = 0.1
"""CPUs of a trial whose workers do the work: it only waits for them."""


class RoomLimiter(ConcurrencyLimiter):
    """Lets a searcher propose as many trials as there is room for, and on a cluster one more.

    That one waits, so that a cluster that can grow does; Ray Tune itself would propose all of them at once, and the
    searcher learn nothing from the first ones.
    """

    def __init__(self, searcher: Searcher, takes: dict[str, float]) -> None:
        """Begin with the room that there is now.

        Args:
            searcher: Proposes the settings.
            takes: CPUs and GPUs of a trial, without what loads its images.
        """
        self._takes = takes
        super().__init__(searcher, max_concurrent=num_at_a_time(takes))

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the settings of the next trial, if it is its time."""
        self.max_concurrent = num_at_a_time(self._takes)
        settings: dict[str, Any] | None = super().suggest(trial_id)
        return settings


def takes_of_trial(scaling: ScalingConfig | None) -> dict[str, float]:
    """Return the CPUs and GPUs of a trial: of its workers and of what waits for them, or of its own process."""
    if scaling is None or scaling.max_workers == 0:
        return {"CPU": 1.0} | ({"GPU": 1.0} if scaling and scaling.use_gpu else {})
    takes = dict(scaling.total_resources)
    return takes | {"CPU": takes.get("CPU", 1.0) + DRIVER_CPUS}


def num_that_fit(takes: dict[str, float]) -> int:
    """Return how many trials fit beside each other and leave CPUs to load images with; 1 or more."""
    room = total_cpus() / (takes["CPU"] + LOADING_CPUS)
    if takes.get("GPU"):
        room = min(room, total_gpus() / takes["GPU"])
    return max(1, int(room))


def num_at_a_time(takes: dict[str, float]) -> int:
    """Return how many trials may be asked for: on a cluster one more than fit, unless it took the loaders' CPUs."""
    fit, cpus = num_that_fit(takes), total_cpus()
    if is_local():
        return fit
    next_one = (fit + 1) * takes["CPU"]
    would_starve_loading = cpus - LOADING_CPUS < next_one <= cpus
    return fit if would_starve_loading else fit + 1
