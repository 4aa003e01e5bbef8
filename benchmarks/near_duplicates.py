"""The near-duplicate search on 400,000 hashes, and its recall on planted near-duplicates: make bench-data.

The hashes are those of drawn (synthetic) lesions with a share of their bits inverted, so that they cluster as real
ones do. Recall is measured on the images of --images, or on drawn lesions.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from benchmarks.measuring import print_table
from melanoma_ray.diagnoses import DIAGNOSES
from melanoma_ray.imaging.perceptual import build_thumbnail, perceptual_hash
from melanoma_ray.preparation.near_duplicates import find_candidates, find_near_duplicates
from melanoma_ray.synthetic.plan import draw_lesion

_NUM_HASHES = 400_000
_NUM_PLANTED = 1_000
_NUM_IMAGES = 1_000

Picture = np.ndarray
COPIES: dict[str, Callable[[Picture], Picture]] = {
    "resized to 50 %": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "resized to 150 %": lambda p: cv2.resize(p, None, fx=1.5, fy=1.5),
    "JPEG quality 50": lambda p: _compress(p, 50),
    "JPEG quality 80": lambda p: _compress(p, 80),
    "mirrored": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "turned by 90°": lambda p: np.ascontiguousarray(np.rot90(p)),
    "cropped by 5 %": lambda p: np.ascontiguousarray(_crop(p, 0.025)),
}


def _compress(pixels: Picture, quality: int) -> Picture:
    encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))


def _crop(pixels: Picture, share: float) -> Picture:
    top, left = (round(share * side) for side in pixels.shape[:2])
    return pixels[top : pixels.shape[0] - top, left : pixels.shape[1] - left]


def main() -> None:
    """Print the search's cost and its recall."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="*", default=[], help="folders of images; by default lesions are drawn")
    pictures = load_pictures([Path(name) for name in parser.parse_args().images])
    measure_search()
    measure_recall(pictures)


def load_pictures(folders: list[Path]) -> list[Picture]:
    """Return the images of up to a thousand files, RGB; drawn lesions if there are no files."""
    paths = sorted(path for folder in folders for path in folder.rglob("*.jpg"))
    if not paths:
        names = [DIAGNOSES[seed % len(DIAGNOSES)] for seed in range(_NUM_IMAGES // 4)]
        return [draw_lesion(diagnosis=name, lesion_seed=seed, view_seed=seed) for seed, name in enumerate(names)]
    chosen = np.random.default_rng(0).permutation(len(paths))[:_NUM_IMAGES]
    return [cv2.cvtColor(np.asarray(cv2.imread(str(paths[i]))), cv2.COLOR_BGR2RGB) for i in chosen]


def measure_search() -> None:
    """Print the time of the search for candidates among many hashes, and the share of planted ones that it finds."""
    random = np.random.default_rng(0)
    drawn = [draw_lesion(diagnosis=DIAGNOSES[i % 9], lesion_seed=i, view_seed=i) for i in range(300)]
    base = np.frombuffer(b"".join(map(perceptual_hash, drawn)), np.uint64).reshape(-1, 4)
    bits = np.unpackbits(base.view(np.uint8), axis=1)
    noise = (random.random((_NUM_HASHES, 256)) < 0.25).astype(np.uint8)
    hashes = np.packbits(bits[random.integers(0, len(base), _NUM_HASHES)] ^ noise, axis=1).view(np.uint64)
    copies = np.unpackbits(hashes[:_NUM_PLANTED].view(np.uint8), axis=1)
    copies ^= (random.random(copies.shape) < 8 / 256).astype(np.uint8)
    everything = np.concatenate([hashes, np.packbits(copies, axis=1).view(np.uint64)])
    before_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    started = time.perf_counter()
    pairs = find_candidates(everything)
    seconds = time.perf_counter() - started
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    planted = set(zip(range(_NUM_PLANTED), range(_NUM_HASHES, _NUM_HASHES + _NUM_PLANTED), strict=True))
    found = len(planted & {tuple(pair) for pair in pairs}) / len(planted)
    print_table(
        "Search among synthetic hashes; planted copies differ in 8 of 256 bits on average",
        ["hashes", "seconds", "peak GiB (before)", "candidate pairs", "planted found"],
        [
            [
                f"{_NUM_HASHES:,}",
                f"{seconds:.1f}",
                f"{peak_gib:.2f} ({before_gib:.2f})",
                f"{len(pairs):,}",
                f"{found:.4f}",
            ]
        ],
    )


def measure_recall(pictures: list[Picture]) -> None:
    """Print for each kind of near-duplicate which share is found next to the originals."""
    rows = []
    for kind, change in COPIES.items():
        everything = [*pictures, *(change(picture) for picture in pictures)]
        hashes = np.frombuffer(b"".join(map(perceptual_hash, everything)), np.uint64).reshape(-1, 4)
        thumbnails = np.stack([build_thumbnail(picture) for picture in everything])
        found = find_near_duplicates(hashes, thumbnails.__getitem__)
        half = len(pictures)
        recall = _linked(found.pairs, half)
        between = found.pairs[(found.pairs[:, 0] < half) & (found.pairs[:, 1] < half)]
        rows.append([kind, f"{recall:.4f}", f"{len(between)}"])
    columns = ["copy", "recall", "pairs among the originals"]
    print_table(f"Copies of {len(pictures)} images that share a group with their original", columns, rows)


def _linked(pairs: np.ndarray, half: int) -> float:
    """Return the share of originals that are in one group with their near-duplicate, directly or through others."""
    group = np.arange(2 * half)
    for _ in range(20):
        low = np.minimum(group[pairs[:, 0]], group[pairs[:, 1]])
        np.minimum.at(group, pairs[:, 0], low)
        np.minimum.at(group, pairs[:, 1], low)
    return float((group[:half] == group[half:]).mean())


if __name__ == "__main__":
    main()
