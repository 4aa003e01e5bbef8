"""Keep Ray Data's scheduler from burning a core while the network is the slower part.

The scheduling loop of Ray Data 2.60 waits for its tasks; when the buffers are full it has none, and
then it spins without a pause (measured on 2 cores: 87 % of one core, taken from the network).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ray.data._internal.execution.execution_callback import ExecutionCallback

if TYPE_CHECKING:
    from ray.data._internal.execution.streaming_executor import StreamingExecutor

_PAUSE_S = 0.01
"""Well below the time of a training step, far above that of one turn of the loop (1 ms)."""


class RestWhileIdle(ExecutionCallback):
    """Pause the loop after a turn that left no task running."""

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Ray Data calls this once a turn."""
        if not any(operator.num_active_tasks() for operator in executor._topology):  # noqa: SLF001
            time.sleep(_PAUSE_S)
