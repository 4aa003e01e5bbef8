"""A job that makes alerts and ends: python -m tests.e2e.alert_job SETTINGS NUMBER; prints how many wait."""

from __future__ import annotations

import sys

import ray

from melanoma_ray.alerts.actor import keep_on_cluster
from melanoma_ray.alerts.settings import read_settings
from tests.unit.alerts.samples import build_alerts


def main() -> None:
    settings = read_settings(sys.argv[1])
    ray.init(logging_level="warning")
    result = keep_on_cluster(settings, build_alerts(settings, int(sys.argv[2])), timeout_s=0)
    print(f"waiting: {result.num_waiting}")


if __name__ == "__main__":
    main()
