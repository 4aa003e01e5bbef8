"""Keep Ray Data's scheduler from taking a core away from the network.

The scheduling loop of Ray Data 2.60 waits for finished tasks; while its buffers are full there are
none to wait for, or finished ones that it may not read yet, and it turns without a pause (measured on
2 cores, during a training whose network was the slower part: 70 to 87 % of one core).

It also asks once a second which resources it may use, and begins without an answer: for its first
second it runs one task at a time, on however many cores.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

_PAUSE_S = 0.02
"""A turn takes some 2 ms and starts every task there is room for; a block lasts for seconds on a CPU."""


class PacedLoop(ExecutionCallback):
    """Pause after each turn of the loop, and have it ask for its share of the cluster at once."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Ray Data calls this once a turn."""
        manager = executor._resource_manager  # noqa: SLF001 - Ray Data has no setting for it
        if manager is not None and manager._global_limits.is_zero():  # noqa: SLF001
            manager._global_limits_last_update_time = 0.0  # noqa: SLF001 - ask again in the next turn
        time.sleep(_PAUSE_S)
