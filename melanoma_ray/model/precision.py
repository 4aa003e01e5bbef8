"""Which number format a device multiplies in fastest."""

from __future__ import annotations

from typing import Literal

import torch


def autocast_dtype(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """Return the format of matrix products.

    ``auto`` takes bf16 where the hardware has it: Ampere GPUs and newer, CPUs with AVX512-BF16 or
    AMX. A CPU that must emulate it is about ten times slower with it (EfficientNet-Lite0, 2 cores of
    an AMD EPYC without it: 18 images/s in fp32, 1.8 in bf16).
    """
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    if device.type == "cpu":
        has_it = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # noqa: SLF001
        return torch.bfloat16 if has_it else torch.float32
    return torch.float32
