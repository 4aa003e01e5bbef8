"""A process that makes alerts and sends them: python -m tests.unit.alerts.sender SETTINGS NUMBER; 0 when none waits."""

from __future__ import annotations

import sys

from melanoma_ray.alerts.dispatcher import send_pending
from melanoma_ray.alerts.outbox import Outbox
from melanoma_ray.alerts.settings import read_settings
from tests.unit.alerts.samples import build_alerts

ALERTS_PER_TRANSACTION = 20


def main() -> None:
    settings = read_settings(sys.argv[1])
    alerts = build_alerts(settings, int(sys.argv[2]))
    with Outbox(settings.outbox) as outbox:
        for start in range(0, len(alerts), ALERTS_PER_TRANSACTION):
            outbox.record(alerts[start : start + ALERTS_PER_TRANSACTION])
    result = send_pending(settings, timeout_s=300)
    sys.exit(1 if result.num_waiting or result.num_dead else 0)


if __name__ == "__main__":
    main()
