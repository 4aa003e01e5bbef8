"""The gain of two measures for training on a CPU: python -m benchmarks.depthwise, with nothing else running.

Compared are our gradients of depthwise convolutions with oneDNN's own, and memory that is kept with memory that is
mapped again at each step. A step is forward, backward and AdamW over a batch of random pixels. The variants alternate,
each in a process of its own.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import torch
from torch import nn

from benchmarks.measuring import median, print_table
from melanoma_ray.cluster.process import keep_freed_memory
from melanoma_ray.config import ModelConfig
from melanoma_ray.model.depthwise import speed_up_depthwise
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import baseline, lite0, lite2

_ROUNDS = 3
_STEPS = 12
_BATCH = 16


def main() -> None:
    """Print the table."""
    ways = [(ours, kept) for kept, ours in product((False, True), (False, True))]
    rows = []
    for model in (baseline().model, lite0().model, lite2().model):
        rates: dict[tuple[bool, bool], list[float]] = {way: [] for way in ways}
        for _ in range(_ROUNDS):
            for way in ways:
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    rates[way].append(pool.submit(measure, model, *way).result())
        plain = rates[False, False]
        for ours, kept in ways:
            found = rates[ours, kept]
            ratio = median([a / b for a, b in zip(found, plain, strict=True)])
            row = [
                f"{model.network}, {model.image_side} px",
                "ours" if ours else "oneDNN's",
                "kept" if kept else "mapped again",
                f"{median(found):.1f}",
                f"{ratio:.2f}",
            ]
            rows.append(row)
    print_table(
        f"Images/s in bf16, batches of {_BATCH}, {os.cpu_count()} cores",
        ["network", "depthwise gradients", "memory", "images/s", "÷ plain torch"],
        rows,
    )


def measure(model: ModelConfig, ours: bool, kept: bool) -> float:  # noqa: FBT001
    """Return images/s of the median step.

    Args:
        model: Network to train.
        ours: Use our gradients of depthwise convolutions.
        kept: Keep freed memory.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_flush_denormal(True)
    if kept:
        keep_freed_memory()
    classifier = build_classifier(model, 9).train()
    if ours:
        speed_up_depthwise(classifier)
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, fused=True)
    side = model.image_side
    pixels = torch.randint(0, 256, (_BATCH, side, side, 3), dtype=torch.uint8)
    target = torch.randint(0, 9, (_BATCH,))
    seconds = []
    for _ in range(_STEPS):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16):
            loss = nn.functional.cross_entropy(classifier(pixels), target)
        torch.autograd.backward(loss)
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    return _BATCH / median(seconds[2:])


if __name__ == "__main__":
    main()
