"""Scores that tell images unlike those of training, compared on pictures that are no lesions and on damaged lesions.

python -m benchmarks.unlike --checkpoint DIR --data DIR [--pictures 60]

``--data`` is the prepared dataset of the checkpoint's training. Every score gets its threshold in the same way: the
``assessable_quantile`` of the validation images. Scores on features use the training images of the checkpoint's bank.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from scipy.special import softmax
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import roc_auc_score

from benchmarks.measuring import median, print_table
from benchmarks.pictures import DAMAGES, OTHERS, damage, draw_others
from melanoma_ray.dataset.prepared import PreparedDataset, open_dataset
from melanoma_ray.imaging.appearance import describe_appearance
from melanoma_ray.imaging.decoding import resize
from melanoma_ray.inference.predictor import Predictor, decide
from melanoma_ray.inference.scorer import Outputs
from melanoma_ray.model.calibration import energy
from melanoma_ray.model.likeness import BANK_SIZE
from melanoma_ray.schema import Split

Crops = UInt8[np.ndarray, "image side side 3"]
_MOST_IMAGES = 200
"""Largest number of validation and of test images."""


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What the first network of a checkpoint makes of images."""

    outputs: Outputs
    features: Float[np.ndarray, "image feature"]
    is_cleared: np.ndarray
    """Whether the melanoma probability alone would let the image pass as routine."""


Score = Callable[[Seen], Float[np.ndarray, " image"]]


def main() -> None:
    """Print the AUROC against test images, the share called routine, and the time of the score that the model has."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, help="checkpoint, run directory or best.json; one network")
    parser.add_argument("--data", required=True, help="prepared dataset that it was trained on")
    parser.add_argument("--pictures", type=int, default=60, help="pictures of each kind")
    given = parser.parse_args()
    torch.set_num_threads(1)
    predictor = Predictor.load(given.checkpoint, "cpu", member=0)
    dataset = open_dataset(given.data)
    val, test = (look(predictor, load(dataset, split, _MOST_IMAGES)) for split in ("val", "test"))
    damaged = load(dataset, "test", given.pictures)
    unlike = {kind: draw_others(kind, given.pictures, dataset.info.config.image.side) for kind in OTHERS}
    unlike |= {kind: damage(kind, damaged) for kind in DAMAGES}
    seen = {kind: look(predictor, crops) for kind, crops in unlike.items()}
    compare(predictor, fit_scores(predictor, dataset), (val, test), seen)
    whole, distance = time_answers(predictor, damaged[:1])
    print(
        f"\nOne answer from a crop takes {whole * 1e3:.2f} ms, of which the distance {distance * 1e3:.3f} ms "
        f"({distance / whole:.1%}); one thread."
    )


def load(dataset: PreparedDataset, split: Split, most: int) -> Crops:
    """Return crops of a split, chosen at random if there are more than asked for."""
    images = dataset.split(split)
    return dataset.load_pixels(list(images.sample(min(most, len(images)), random_state=0)["path"]))


def look(predictor: Predictor, crops: Crops) -> Seen:
    """Return what the network makes of crops."""
    outputs = predictor.scorer.answer(crops)
    probability = decide(outputs, predictor.manifest).melanoma_probability
    features = predictor.scorer.embed(crops)[:, 0].astype(np.float64)
    return Seen(outputs, features, probability < predictor.manifest.calibration.decision_threshold)


def fit_scores(predictor: Predictor, dataset: PreparedDataset) -> Mapping[str, Score]:
    """Return the scores; those on features are fitted on training images as the bank of the checkpoint is."""
    images = dataset.split("train")
    images = images.sample(min(BANK_SIZE, len(images)), random_state=0)
    features = look(predictor, dataset.load_pixels(list(images["path"]))).features
    target = dataset.target(images)
    means = np.stack([features[target == number].mean(axis=0) for number in np.unique(target)])
    within = fit_mahalanobis(means, features - means[np.searchsorted(np.unique(target), target)])
    whole = fit_mahalanobis(features.mean(axis=0, keepdims=True), features - features.mean(axis=0))
    calibration = predictor.manifest.calibration
    limits = np.array([calibration.out_of_distribution_threshold, calibration.appearance_threshold], float)
    return {
        "energy": lambda seen: energy(seen.outputs.logits),
        "maximum softmax probability": lambda seen: -softmax(seen.outputs.logits, axis=1).max(axis=1),
        "Mahalanobis": lambda seen: within(seen.features),
        "relative Mahalanobis": lambda seen: within(seen.features) - whole(seen.features),
        "nearest neighbours": lambda seen: distances(seen)[:, 0],
        "appearance": lambda seen: distances(seen)[:, 1],
        "both (the model's)": lambda seen: (distances(seen) / limits).max(axis=1),
    }


def distances(seen: Seen) -> Float[np.ndarray, "image 2"]:
    """Return the distances by features and by appearance, of a checkpoint that has a bank."""
    assert seen.outputs.distance is not None
    return seen.outputs.distance


def fit_mahalanobis(
    means: Float[np.ndarray, "class feature"], residuals: Float[np.ndarray, "image feature"]
) -> Callable[[Float[np.ndarray, "image feature"]], Float[np.ndarray, " image"]]:
    """Return the squared distance to the nearest mean, by one covariance for all (Lee 2018, arXiv:1807.03888).

    The covariance is shrunk (Ledoit & Wolf 2004), since there are fewer images than features. The relative distance is
    that to the diagnoses' means minus that to the mean of all (Ren 2021, arXiv:2106.09022).
    """
    precision = np.linalg.inv(ledoit_wolf(residuals, assume_centered=True)[0])

    def measure(features: Float[np.ndarray, "image feature"]) -> Float[np.ndarray, " image"]:
        steps = features - means[:, None]
        return np.asarray(np.einsum("cif,fg,cig->ci", steps, precision, steps, optimize=True).min(axis=0))

    return measure


def compare(
    predictor: Predictor, scores: Mapping[str, Score], own: tuple[Seen, Seen], seen: Mapping[str, Seen]
) -> None:
    """Print a row for each kind of picture: AUROC, and the share that is called routine."""
    val, test = own
    share = predictor.manifest.experiment.decision.assessable_quantile
    thresholds = {name: np.quantile(score(val), share) for name, score in scores.items()}
    rows = []
    for kind, found in {"test images themselves": test, **seen}.items():
        row = [kind]
        for name, score in scores.items():
            both = np.concatenate([score(test), score(found)])
            is_unlike = np.repeat([False, True], [len(test.is_cleared), len(found.is_cleared)])
            auroc = "" if found is test else f"{roc_auc_score(is_unlike, both):.3f}, "
            is_like = score(found) <= thresholds[name]
            row.append(f"{auroc}{is_like.mean():.0%}, {(found.is_cleared & is_like).mean():.0%}")
        rows.append(row)
    synthetic = " (synthetic lesions)" if predictor.manifest.is_synthetic else ""
    print_table(
        f"{predictor.manifest.experiment.model.network}{synthetic}: AUROC against {len(test.is_cleared)} test images, "
        "share that counts as assessable, and share called routine; thresholds from "
        f"{len(val.is_cleared)} validation images",
        ["pictures", *scores],
        rows,
    )


def time_answers(predictor: Predictor, crop: Crops) -> tuple[float, float]:
    """Return the median time of an answer, and of what the distance adds to it, seconds, on one thread."""
    scorer, network = predictor.scorer, predictor.scorer.members[0]
    assert scorer.bank is not None
    answers, distances = [], []
    with torch.inference_mode():
        pixels = torch.from_numpy(np.stack([resize(crop[0], scorer.image_side, scorer.image_side)]))
        feature_map = network.network.forward_features(network.normalize(pixels))  # type: ignore[operator]
        for _ in range(100):
            started = time.perf_counter()
            scorer.answer(crop)
            answered = time.perf_counter()
            features = network.network.forward_head(feature_map, pre_logits=True)  # type: ignore[operator]
            scorer.bank.measure_distance([features])
            scorer.bank.measure_appearance(describe_appearance(crop))
            answers.append(answered - started)
            distances.append(time.perf_counter() - answered)
    return median(answers), median(distances)


if __name__ == "__main__":
    main()
