"""The number format of matrix products on a device."""

from __future__ import annotations

from typing import Literal

import torch


def autocast_dtype(precision: Literal["auto", "fp32", "bf16"], device: torch.device) -> torch.dtype:
    """Return the number format of matrix products.

    ``auto`` is bf16 where the hardware supports it (Ampere GPUs and newer, CPUs with AVX512-BF16 or AMX), else fp32.
    A CPU that has to emulate bf16 is about ten times slower with it (EfficientNet-Lite0 on 2 cores of an AMD EPYC
    without bf16: 18 images/s in fp32, 1.8 in bf16).
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
