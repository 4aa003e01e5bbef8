"""Ways to compute a network on a CPU, and how far their answers are from those of PyTorch in fp32.

The first table needs a trained --checkpoint; its images are drawn lesions, or with --data a prepared dataset's
validation split. Milliseconds are processor time of one thread for an image that is alone. The other table has
``lite2`` with eight views, as batch prediction computes it in each process.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from benchmarks.measuring import median, print_table
from melanoma_ray.dataset.prepared import open_dataset
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.decoding import fit_to_square
from melanoma_ray.inference.agreement import Judge, compare
from melanoma_ray.inference.export import OnnxRuntime, to_onnx
from melanoma_ray.inference.predictor import Predictor, decide
from melanoma_ray.inference.runtime import OpenVinoRuntime, Runtime, convert, import_openvino
from melanoma_ray.inference.scorer import Scorer
from melanoma_ray.model.networks import build_classifier
from melanoma_ray.recipes import lite2
from melanoma_ray.synthetic.plan import draw_lesion

_NUM_DRAWN, _NUM_TIMED = 100, 30


class LowRuntime:
    """OpenVINO in bf16, which the project doesn't offer."""

    name = "OpenVINO bf16"
    num_pictures = 8
    is_padded = False

    def __init__(self, scorer: Scorer) -> None:
        """Compile the first network of a scorer."""
        settings = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        model = convert(scorer.members[0], scorer.image_side)
        self._request = import_openvino().Core().compile_model(model, "CPU", settings).create_infer_request()

    def run(
        self,
        member: int,  # noqa: ARG002
        pictures: UInt8[Tensor, "picture side side 3"],
        metadata: Float[Tensor, "picture feature"],  # noqa: ARG002
        *,
        is_alone: bool,  # noqa: ARG002
    ) -> tuple[Float[Tensor, "picture diagnosis"], Float[Tensor, "picture feature"]]:
        """Return logits and features of pictures."""
        answer = self._request.infer([pictures.numpy()])
        return torch.from_numpy(answer[0].copy()), torch.from_numpy(answer[1].copy())


def draw_crops(side: int) -> np.ndarray:
    """Return drawn lesions of all diagnoses."""
    drawn = [
        draw_lesion(diagnosis=DIAGNOSES[i % len(DIAGNOSES)], lesion_seed=i, view_seed=i) for i in range(_NUM_DRAWN)
    ]
    return np.stack([fit_to_square(one, side, "crop") for one in drawn])


def compare_runtimes(scorer: Scorer, crops: np.ndarray, judge: Judge) -> None:
    """Print time and differences of each runtime."""
    member, reference = scorer.members[0], scorer.runtime
    expected = scorer.answer(crops)
    runtimes: list[Runtime] = [
        reference,
        OnnxRuntime([to_onnx(member, scorer.image_side)], num_threads=1),
        OpenVinoRuntime([convert(member, scorer.image_side)], 1),
        LowRuntime(scorer),
    ]
    rows = []
    for runtime in runtimes:
        scorer.runtime = runtime
        found = scorer.answer(crops)
        agreement = compare(expected, found, judge)
        changed = f"{agreement.num_decisions_changed} of {agreement.num_images}"
        rows.append([runtime.name, f"{time_alone(scorer, crops):.1f}", f"{agreement.largest_difference:.1e}", changed])
    columns = ["runtime", "CPU ms an image, one thread", "largest difference of a probability", "decisions changed"]
    print_table("Runtimes", columns, rows)


def time_alone(scorer: Scorer, crops: np.ndarray) -> float:
    """Return the median processor time for one image, ms."""
    times = []
    for number in range(_NUM_TIMED):
        started = time.process_time()
        scorer.answer(crops[number % len(crops)][None])
        times.append(1000 * (time.process_time() - started))
    return median(times)


def compare_views() -> None:
    """Print the time of ``lite2`` with eight views, in PyTorch one view a pass and as compiled, eight views a pass."""
    torch.manual_seed(0)
    config = replace(lite2().model, num_views=8)
    scorer = Scorer([build_classifier(config, len(DIAGNOSES))], config, len(DIAGNOSES), torch.device("cpu"))
    crops = draw_crops(scorer.image_side)[:_NUM_TIMED]
    before = time_alone(scorer, crops)
    scorer.runtime = OpenVinoRuntime([convert(scorer.members[0], scorer.image_side)], 1)
    after = time_alone(scorer, crops)
    rows = [["PyTorch fp32", f"{before:.0f}", "1.0"], [scorer.runtime.name, f"{after:.0f}", f"{before / after:.1f}"]]
    print_table("lite2, eight views, 260 px", ["runtime", "CPU ms an image, one thread", "times as fast"], rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", help="trained checkpoint whose answers are compared")
    parser.add_argument("--data", help="its prepared dataset, whose validation split is asked about")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.checkpoint:
        predictor = Predictor.load(given.checkpoint, "cpu", runtime="reference")
        scorer, judge = predictor.scorer, partial(decide, manifest=predictor.manifest)
        crops = draw_crops(scorer.image_side)
        if given.data:
            dataset = open_dataset(given.data)
            crops = dataset.load_pixels(list(dataset.split("val")["path"]))
        compare_runtimes(scorer, crops, judge)
    compare_views()


if __name__ == "__main__":
    main()
