"""From the object store to the network: whole, in order, and the network's own."""

from __future__ import annotations

import numpy as np
import torch

from melanoma_ray.loading.device_prefetch import prefetch_to_device


def test_the_network_gets_arrays_of_its_own_in_order() -> None:
    sent = [
        {
            "batch_index": np.full(2, batch_index),
            "pixels": np.full((2, 4, 4, 3), batch_index, np.uint8),
            "metadata": np.zeros((2, 3), np.float32),
            "target": np.array([batch_index, -1]),
        }
        for batch_index in range(3)
    ]
    for array in (array for batch in sent for array in batch.values()):
        array.flags.writeable = False  # as in the object store
    for batch_index, batch in enumerate(prefetch_to_device(sent, torch.device("cpu"))):
        assert batch.batch_index.tolist() == [batch_index, batch_index]
        assert batch.target.tolist() == [batch_index, -1]
        assert (batch.pixels == batch_index).all()
        batch.pixels.add_(1)
    assert batch_index == 2
    assert (sent[1]["pixels"] == 1).all()
