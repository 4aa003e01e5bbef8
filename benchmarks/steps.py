"""Images/s of optimizer steps alone, by recipe and batch size, on the device at hand: python -m benchmarks.steps.

A step is forward, backward and the optimizer's update on pixels that are on the device already, so this is the most
that any stream of images could give.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from benchmarks.measuring import median, print_table
from melanoma_ray.config import Experiment
from melanoma_ray.patients import nothing_known
from melanoma_ray.recipes import baseline, convnext, lite0
from melanoma_ray.training.state import build_state
from melanoma_ray.training.step import Stepper
from tests.unit.training.stepping import SteppingBackend

_ROUNDS, _STEPS = 3, 20
_NUM_DIAGNOSES = 9


def main() -> None:
    """Print the table."""
    backend = SteppingBackend("cuda" if torch.cuda.is_available() else "cpu")
    rows = []
    for name, experiment in (("baseline", baseline()), ("lite0", lite0()), ("convnext", convnext())):
        model = replace(experiment.model, pretrained=name == "lite0", compile=False)  # lite0's weights are a package
        for batch_size in (16, 256) if backend.device.type == "cuda" else (16,):
            rate = measure(replace(experiment, model=model), batch_size, backend)
            rows.append([name, str(model.image_side), str(batch_size), f"{rate:,.0f}"])
    where = torch.cuda.get_device_name() if backend.device.type == "cuda" else "CPU"
    print_table(f"Steps alone, {where}", ["recipe", "side, px", "batch", "images/s"], rows)


def measure(experiment: Experiment, batch_size: int, backend: SteppingBackend) -> float:
    """Return the median rate of some rounds of steps, images/s."""
    side, device = experiment.model.image_side, backend.device
    stepper = Stepper(build_state(experiment, _NUM_DIAGNOSES, device), experiment, (4,) * _NUM_DIAGNOSES, backend)
    pixels = torch.randint(0, 256, (batch_size, side, side, 3), dtype=torch.uint8, device=device)
    target = torch.arange(batch_size, device=device) % _NUM_DIAGNOSES
    metadata = torch.from_numpy(nothing_known(batch_size)).to(device)
    rates = []
    for _ in range(_ROUNDS + 1):  # the first round warms up
        started = time.perf_counter()
        for _ in range(_STEPS):
            stepper.train(pixels, metadata, target, _STEPS)
        if device.type == "cuda":
            torch.cuda.synchronize()
        rates.append(_STEPS * batch_size / (time.perf_counter() - started))
    return median(rates[1:])


if __name__ == "__main__":
    main()
