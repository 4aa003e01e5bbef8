"""What computes a network: PyTorch, which is the reference, or a model that was compiled from it for this processor."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Sequence
from importlib.util import find_spec
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from melanoma_ray.model.networks import Classifier
from melanoma_ray.patients import NUM_FEATURES

_PICTURES_PER_PASS = {"cpu": 1, "cuda": 32}
"""Number of pictures in a pass of PyTorch, by device, always the same (the last pass is padded). Kernels are chosen by
shape: so an image's logits are equal to the bit whatever other images are scored with it."""
_COMPILED_PICTURES = 8
"""Most pictures in a pass of a compiled model: more gain nothing, and one for each view of an image is enough."""


class Runtime(Protocol):
    """The networks of a checkpoint, ready to compute; several threads may call it at a time."""

    name: str
    """Program and number format, as answers and reports state it."""
    num_pictures: int
    """Most pictures in a pass."""
    is_padded: bool
    """Whether every pass must have just as many."""

    def run(
        self,
        member: int,
        pictures: UInt8[Tensor, "picture side side 3"],
        metadata: Float[Tensor, "picture feature"],
        *,
        is_alone: bool,
    ) -> tuple[Float[Tensor, "picture diagnosis"], Float[Tensor, "picture feature"]]:
        """Return logits and features of pictures in one network.

        Args:
            member: Number of the network.
            pictures: The pictures, RGB, of the network's side.
            metadata: Metadata from ``encode_metadata``.
            is_alone: Whether all threads may work on these pictures, since nothing else is to be computed.
        """


class TorchRuntime:
    """PyTorch in fp32, the reference for every other runtime; each pass has all of its threads."""

    num_pictures: int
    is_padded = True

    def __init__(self, members: Sequence[Classifier], device: torch.device) -> None:
        """Keep the networks, which are on the device and in evaluation mode."""
        self.name = "PyTorch fp32" if device.type == "cpu" else f"PyTorch fp32 on {device.type.upper()}"
        self.num_pictures = _PICTURES_PER_PASS.get(device.type, 1)
        self._members = members

    def run(
        self,
        member: int,
        pictures: UInt8[Tensor, "picture side side 3"],
        metadata: Float[Tensor, "picture feature"],
        *,
        is_alone: bool,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "picture diagnosis"], Float[Tensor, "picture feature"]]:
        """Return logits and features of pictures in one network."""
        return self._members[member].embed(pictures, metadata)


class OpenVinoRuntime:
    """The networks in fp32 as compiled by OpenVINO for this CPU.

    Each is compiled twice: for a pass with all threads, when an image is alone, and for passes of one thread each
    beside one another, which together compute more images (``python -m benchmarks.runtimes``).
    """

    name = "OpenVINO fp32"
    num_pictures = _COMPILED_PICTURES
    is_padded = False

    def __init__(self, models: Sequence[Any], num_threads: int) -> None:
        """Compile models from ``convert``.

        Args:
            models: A model for each network.
            num_threads: Number of threads of all passes together.
        """
        self._alone = [_RequestPool(model, num_threads=num_threads, num_streams=1) for model in models]
        self._beside = (
            self._alone
            if num_threads == 1
            else [_RequestPool(model, num_threads=num_threads, num_streams=num_threads) for model in models]
        )

    def run(
        self,
        member: int,
        pictures: UInt8[Tensor, "picture side side 3"],
        metadata: Float[Tensor, "picture feature"],
        *,
        is_alone: bool,
    ) -> tuple[Float[Tensor, "picture diagnosis"], Float[Tensor, "picture feature"]]:
        """Return logits and features of pictures in one network."""
        pool = (self._alone if is_alone else self._beside)[member]
        logits, features = pool.infer([pictures.numpy(), metadata.numpy()])
        return torch.from_numpy(logits), torch.from_numpy(features)


class _RequestPool:
    """A compiled network, and as many places to compute in as it has streams."""

    def __init__(self, model: Any, *, num_threads: int, num_streams: int) -> None:  # noqa: ANN401
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",  # by default bf16, where the processor has it
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": num_streams,
            "ENABLE_CPU_PINNING": False,  # two processes would be pinned to the same core
        }
        openvino = import_openvino()
        compiled = openvino.Core().compile_model(model, "CPU", settings)
        self._tensor = openvino.Tensor
        self._num_inputs = len(compiled.inputs)
        self._free: SimpleQueue[Any] = SimpleQueue()
        for _ in range(num_streams):
            self._free.put(compiled.create_infer_request())

    def infer(self, given: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Return copies of both outputs; waits while all places are taken."""
        request = self._free.get()
        try:
            for place, array in enumerate(given[: self._num_inputs]):
                request.set_input_tensor(place, self._tensor(array, shared_memory=True))
            request.infer()
            return request.get_output_tensor(0).data.copy(), request.get_output_tensor(1).data.copy()
        finally:
            self._free.put(request)


class Embedding(nn.Module):
    """A network whose ``forward`` is ``embed``, as tracing needs it."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, pixels: Tensor, metadata: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return logits and features."""
        return self.classifier.embed(pixels, metadata)


def convert(member: Classifier, side: int) -> Any:  # noqa: ANN401 - a class of a package that may be missing
    """Return a network as OpenVINO's model, for any number of pictures.

    Args:
        member: The network, on the CPU and in evaluation mode.
        side: Width and height of its input, pixels.

    Raises:
        ImportError: OpenVINO isn't installed.
        Exception: Whatever OpenVINO raises about a network that it can't convert.
    """
    openvino = import_openvino()
    example = [torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, NUM_FEATURES)]
    shapes = [openvino.PartialShape([-1, side, side, 3]), openvino.PartialShape([-1, NUM_FEATURES])]
    number = 1 if member.metadata_encoder is None else 2
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # tracing warns of each Python number in a network's code
        return openvino.convert_model(
            Embedding(member).eval(), example_input=tuple(example[:number]), input=shapes[:number]
        )


def import_openvino() -> Any:  # noqa: ANN401 - a module that may be missing
    """Return OpenVINO, which then sends nothing to its makers.

    It reports each conversion to them over the internet, unless its package for that can't be imported: with None in
    the place of a module Python refuses to.

    Raises:
        ImportError: It isn't installed.
    """
    sys.modules.setdefault("openvino_telemetry", cast("ModuleType", None))
    return importlib.import_module("openvino")


def has_openvino() -> bool:
    """Return whether OpenVINO is installed."""
    return find_spec("openvino") is not None
