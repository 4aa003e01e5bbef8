"""What a process needs before it trains, whoever started it."""

from __future__ import annotations

import logging

import numpy as np
import torch
from ray.train.v2._internal.execution import context as reporting

_CHATTERS = ("ray.data", "ray.train", "ray.tune", reporting.__file__)
"""The last one tells each report, by a logger that is named after its file (Ray 2.60)."""


def prepare_process(num_threads: int) -> None:
    """Set threads and floating-point rules, and leave the log to the loop.

    Args:
        num_threads: Of the network's kernels.
    """
    for name in _CHATTERS:
        logging.getLogger(name).setLevel(logging.WARNING)
    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # Adam's moments of a silent unit decay into denormals, which are slow
    np.seterr(all="raise", under="ignore")
