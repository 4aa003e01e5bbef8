"""What a process needs before it trains, whoever started it."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import torch

from melanoma_ray.cluster.workarounds import quiet_ray

_MALLOC = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 * 2**20)}
"""Parameters of mallopt(3) with their numbers in glibc's malloc.h: no block is mapped on its own, up to 2 GiB of the
heap's end are kept, and it grows by 64 MiB at a time."""

WORKER_ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1"}
"""torch then asks the kernel for huge pages for blocks of 2 MiB and more; it reads this when it is loaded."""


def prepare_process(num_threads: int) -> None:
    """Set threads and floating-point rules, and leave the log to the loop.

    Args:
        num_threads: Of the network's kernels.
    """
    quiet_ray()
    keep_freed_memory()
    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # Adam's moments of a silent unit decay into denormals, which are slow
    np.seterr(all="raise", under="ignore")


def keep_freed_memory() -> None:
    """Have glibc keep what a step frees for the next one.

    By default large blocks are mapped anew each time, and the kernel clears each of their pages again: on two cores
    the baseline trained at two thirds of its speed so (``python -m benchmarks.depthwise``). The process then holds its
    peak until it ends. With another C library nothing is changed.
    """
    if sys.platform != "linux" or (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is None:
        return
    for parameter, value in _MALLOC.values():
        mallopt(parameter, value)
