"""Device prefetch: the stream's arrays, which lie read-only in the object store, become tensors on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from melanoma_ray.loading.stream import Batch

_NAMES = ("pixels", "metadata", "target")
"""Of a batch's arrays, those that the network gets."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceBatch:
    """One worker's share of a global batch, on its device."""

    batch_index: np.ndarray
    """Of each row, int64; it stays with the host, which checks it."""
    pixels: Tensor
    """uint8 of shape image × side × side × 3."""
    metadata: Tensor
    """float32 of shape image × feature."""
    target: Tensor
    """int64; -1: not counted."""


def prefetch_to_device(batches: Iterable[Batch], device: torch.device) -> Iterator[DeviceBatch]:
    """Yield each batch on the device.

    An array is copied once on the host, since torch must be able to write where it lies. For a GPU the copy is into
    pinned memory, and the next batch's transfer runs on a stream of its own, beside the network.
    """
    if device.type == "cuda":
        yield from _transfer_ahead(batches, device)
        return
    for batch in batches:
        yield DeviceBatch(
            batch_index=batch["batch_index"], **{name: torch.from_numpy(np.array(batch[name])) for name in _NAMES}
        )


def _transfer_ahead(batches: Iterable[Batch], device: torch.device) -> Iterator[DeviceBatch]:
    stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    ahead: tuple[DeviceBatch, torch.cuda.Event] | None = None
    for batch in batches:
        with torch.cuda.stream(stream):
            tensors = {name: _pin(batch[name]).to(device, non_blocking=True) for name in _NAMES}
            following = DeviceBatch(batch_index=batch["batch_index"], **tensors), stream.record_event()
        if ahead is not None:
            yield _received(*ahead)
        ahead = following
    if ahead is not None:
        yield _received(*ahead)


def _pin(array: np.ndarray) -> Tensor:
    """Return a copy in memory that the GPU can read by itself."""
    pinned = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=True)
    pinned.numpy()[...] = array
    return pinned


def _received(batch: DeviceBatch, arrived: torch.cuda.Event) -> DeviceBatch:
    """Have the network's stream wait for the transfer, and the memory for the network."""
    current = torch.cuda.current_stream(batch.pixels.device)
    current.wait_event(arrived)
    for tensor in (batch.pixels, batch.metadata, batch.target):
        tensor.record_stream(current)
    return batch
