"""Computes the figures that are defined for some images, and remembers why the others aren't."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from melanoma_ray.errors import MetricError

Computed = TypeVar("Computed")


@dataclass(frozen=True, slots=True)
class Attempts:
    """Computes what is defined, and remembers why the rest is not."""

    undefined: dict[str, str] = field(default_factory=dict)
    """Reasons by figure."""

    def attempt(self, name: str, compute: Callable[[], Computed]) -> Computed | None:
        """Return what is computed, or none if it isn't defined."""
        try:
            return compute()
        except MetricError as error:
            self.undefined[name] = str(error)
            return None
