"""A checkpoint's networks as ONNX files for other programs, with what these need to know, checked in ONNX Runtime.

network-0.onnx …   from uint8 pixels (image, side, side, 3), RGB, and where it is used metadata, to logits and features
export.json        how images become pixels and logits a decision; each file's SHA-256; how far the answers of ONNX
                   Runtime, and of the service's own runtime, are from those of PyTorch

The normalisation is a part of the network. Views, the mean over networks, the temperature, the biases and the
thresholds aren't: export.json has them.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from melanoma_ray import storage
from melanoma_ray.errors import CheckpointError, ConfigError
from melanoma_ray.inference.agreement import TOLERANCE, Agreement, compare, draw_crops
from melanoma_ray.inference.predictor import Predictor, decide
from melanoma_ray.inference.runtime import Embedding, Runtime
from melanoma_ray.model.networks import Classifier
from melanoma_ray.patients import NUM_FEATURES

EXPORT = "export.json"
_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
_NAMES = ("pixels", "metadata")
Crops = UInt8[np.ndarray, "image side side 3"]
Metadata = Float32[np.ndarray, "image feature"] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written."""

    files: tuple[str, ...]
    """Names of the networks' files."""
    agreements: tuple[tuple[str, Agreement], ...]
    """Which images were asked about, and how a runtime's answers for them compare with PyTorch's."""


class OnnxRuntime:
    """Exported networks in ONNX Runtime on a CPU, as another program would compute them."""

    name = "ONNX Runtime fp32"
    num_pictures = 8
    is_padded = False

    def __init__(self, models: Sequence[bytes], num_threads: int = 0) -> None:
        """Load networks.

        Args:
            models: The files' contents.
            num_threads: Number of threads; 0: as many as cores.
        """
        from onnxruntime import InferenceSession, SessionOptions  # noqa: PLC0415 - it may not be installed

        options = SessionOptions()
        options.intra_op_num_threads = num_threads
        providers = ["CPUExecutionProvider"]
        self._sessions = [InferenceSession(model, options, providers=providers) for model in models]

    def run(
        self,
        member: int,
        pictures: UInt8[Tensor, "picture side side 3"],
        metadata: Float[Tensor, "picture feature"],
        *,
        is_alone: bool,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "picture diagnosis"], Float[Tensor, "picture feature"]]:
        """Return logits and features of pictures in one network."""
        session = self._sessions[member]
        given = dict(zip(_NAMES, (pictures.numpy(), metadata.numpy()), strict=True))
        asked = {one.name: given[one.name] for one in session.get_inputs()}
        logits, features = session.run(None, asked)
        return torch.from_numpy(logits), torch.from_numpy(features)


def check_packages() -> None:
    """Refuse to export where a package for it is missing.

    Raises:
        ConfigError: The message has the command that installs them.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        msg = f"not installed: {', '.join(missing)}; pip install 'melanoma-ray[export]'"
        raise ConfigError(msg)


def export_checkpoint(checkpoint: str, output: str, crops: Crops | None = None, metadata: Metadata = None) -> Exported:
    """Write a checkpoint's networks as ONNX files, and export.json last.

    Args:
        checkpoint: Checkpoint directory.
        output: Directory of the files.
        crops: Crops of a validation split to compare the answers on, beside drawn lesions; none: these alone.
        metadata: Their metadata, from ``encode_metadata``.

    Raises:
        CheckpointError: The checkpoint can't be used, or the exported networks answer otherwise; nothing was written.
        ConfigError: A package is missing.
    """
    check_packages()
    predictor = Predictor.load(checkpoint, "cpu", runtime="reference")
    scorer = predictor.scorer
    contents = [to_onnx(member, scorer.image_side) for member in scorer.members]
    asked: list[tuple[str, Crops, Metadata]] = [("drawn lesions", draw_crops(scorer.image_side), None)]
    if crops is not None:
        asked.append(("validation split", crops, metadata))
    runtimes = (OnnxRuntime(contents), Predictor.load(checkpoint, "cpu").scorer.runtime)
    agreements = tuple(
        (name, found) for name, some, known in asked for found in _compare(predictor, runtimes, some, known)
    )
    for name, found in agreements:
        _check(checkpoint, name, found)
    files = {f"network-{number}.onnx": content for number, content in enumerate(contents)}
    for name, content in files.items():
        storage.write_bytes(storage.join(output, name), content)
    described = describe_export(predictor, files, agreements)
    storage.write_bytes(storage.join(output, EXPORT), json.dumps(described, indent=2).encode())
    return Exported(files=tuple(files), agreements=agreements)


def to_onnx(member: Classifier, side: int) -> bytes:
    """Return a network as the content of an ONNX file, for any number of images.

    Args:
        member: The network, on the CPU and in evaluation mode.
        side: Width and height of its input, pixels.
    """
    number = 1 if member.metadata_encoder is None else 2
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, NUM_FEATURES))[:number]
    images = torch.export.Dim("image")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch's own, about itself
        program = torch.onnx.export(
            Embedding(member).eval(),
            example,
            input_names=_NAMES[:number],
            output_names=["logits", "features"],
            dynamic_shapes=({0: images},) * number,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    return bytes(program.model_proto.SerializeToString())


def _compare(
    predictor: Predictor, runtimes: Sequence[Runtime], crops: Crops, metadata: Metadata
) -> Iterator[Agreement]:
    """Yield how each runtime's answers for some images compare with PyTorch's."""
    scorer, judge = predictor.scorer, partial(decide, manifest=predictor.manifest)
    reference, expected = scorer.runtime, scorer.answer(crops, metadata)
    for runtime in runtimes:
        scorer.runtime = runtime
        yield compare(expected, scorer.answer(crops, metadata), judge)
    scorer.runtime = reference


def _check(checkpoint: str, images: str, found: Agreement) -> None:
    if found.holds:
        return
    msg = (
        f"checkpoint {checkpoint}: in {found.runtime}, of {found.num_images} images ({images}) "
        f"{found.num_decisions_changed} got another decision than from PyTorch, and a probability differs by "
        f"{found.largest_difference:.4f} (at most {TOLERANCE:g}); nothing was written"
    )
    raise CheckpointError(msg)


def describe_export(
    predictor: Predictor, files: Mapping[str, bytes], agreements: Sequence[tuple[str, Agreement]]
) -> dict[str, Any]:
    """Return the content of export.json.

    Args:
        predictor: The checkpoint.
        files: Content of the networks' files by name.
        agreements: As in ``Exported``.
    """
    manifest, scorer = predictor.manifest, predictor.scorer
    return {
        **predictor.describe(),
        "image": asdict(manifest.image),
        "num_views": scorer.num_views,
        "diagnosis_by": manifest.experiment.decision.diagnosis_by,
        "referred": list(manifest.referred),
        "inputs": "uint8 RGB pixels (image, side, side, 3), 0 to 255"
        + ("; float32 metadata (image, feature)" if scorer.members[0].metadata_encoder else ""),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "agreement": [{"images": name, **asdict(found)} for name, found in agreements],
        "tolerance": TOLERANCE,
    }
