"""Device prefetch: copies the stream's arrays, which are read-only in the object store, to tensors on the device."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from melanoma_ray.loading.stream import Batch

_NAMES = ("pixels", "metadata", "target")
"""Names of a batch's arrays that go to the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceBatch:
    """One worker's share of a global batch, on its device."""

    batch_index: np.ndarray
    """Batch index of each row, int64; stays on the host, where the loop checks it."""
    pixels: Tensor
    """Pixels, uint8 of shape image × side × side × 3."""
    metadata: Tensor
    """Metadata from ``encode_metadata``, float32 of shape image × feature."""
    target: Tensor
    """Targets, int64; -1: the image doesn't count."""


def prefetch_to_device(batches: Iterable[Batch], device: torch.device) -> Iterator[DeviceBatch]:
    """Yield each batch on the device.

    Each array is copied once on the host, because torch needs writable memory. For a GPU the copy is in pinned memory,
    and the next batch is transferred on a CUDA stream of its own while the network works on the current one.

    Args:
        batches: This worker's shares of global batches, from the stream.
        device: Device of the network.
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
    """Return a copy in pinned memory, from which the GPU copies without the CPU."""
    pinned = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, array.dtype)).dtype, pin_memory=True)
    pinned.numpy()[...] = array
    return pinned


def _received(batch: DeviceBatch, arrived: torch.cuda.Event) -> DeviceBatch:
    """Return the batch once the network's CUDA stream is set to wait for its transfer.

    ``record_stream`` keeps the memory from being reused until the network is done with it.
    """
    current = torch.cuda.current_stream(batch.pixels.device)
    current.wait_event(arrived)
    for tensor in (batch.pixels, batch.metadata, batch.target):
        tensor.record_stream(current)
    return batch
