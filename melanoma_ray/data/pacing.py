"""Keep Ray Data's scheduler from taking a core away from the network.

The scheduling loop of Ray Data 2.60 waits for finished tasks; while its buffers are full there are
none to wait for, or finished ones that it may not read yet, and it turns without a pause (measured on
2 cores, during a training whose network was the slower part: 70 to 87 % of one core).
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
    """Pause after each turn of the loop."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:  # noqa: ARG002
        """Ray Data calls this once a turn."""
        time.sleep(_PAUSE_S)
