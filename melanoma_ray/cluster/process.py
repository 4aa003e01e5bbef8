"""Settings of a process that trains: threads, memory and floating-point errors."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import torch

from melanoma_ray.cluster.workarounds import quiet_ray

_MALLOC = {"M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_TOP_PAD": (-2, 64 * 2**20)}
"""Parameters of mallopt(3), each with its number in glibc's malloc.h and its value: no block gets a mapping of its
own, up to 2 GiB of free memory at the heap's end are kept, and the heap grows by 64 MiB at a time."""

WORKER_ENVIRONMENT = {"THP_MEM_ALLOC_ENABLE": "1"}
"""With this variable torch requests huge pages for blocks of 2 MiB and more; it is read when torch is imported."""


def prepare_process(num_threads: int) -> None:
    """Set threads, memory and floating-point errors, and silence Ray's own log lines.

    Args:
        num_threads: Number of threads of the network's kernels.
    """
    quiet_ray()
    keep_freed_memory()
    torch.set_num_threads(num_threads)
    torch.set_flush_denormal(True)  # Adam's moments of a silent unit decay into denormals, which are slow
    np.seterr(all="raise", under="ignore")


def keep_freed_memory() -> None:
    """Have glibc keep memory that a step frees, for the next step.

    By default large blocks are mapped again each time, and the kernel clears each of their pages again: with that, the
    baseline trained at two thirds of the speed on two cores (``python -m benchmarks.depthwise``). The price is that the
    process keeps its peak of memory until it ends. With another C library nothing is changed.
    """
    if sys.platform != "linux" or (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is None:
        return
    for parameter, value in _MALLOC.values():
        mallopt(parameter, value)
