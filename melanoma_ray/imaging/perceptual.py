"""What an image looks like: a hash of 32 bytes to find near-duplicates, and 32 × 32 grey pixels to verify them.

Both stretch the whole image to a square, so that size, compression and changes of the aspect ratio don't matter. The 8
rotations and mirrorings are tried in the comparison, from the hashes or thumbnails alone.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8, UInt64

HASH_BYTES = 32
HASH_BITS = 8 * HASH_BYTES
"""Bit n is the sign of the n-th lowest frequency, so near-duplicates agree most in the first bits."""
THUMBNAIL_SIDE = 32
_SQUASHED_SIDE = 64
_TURNS = tuple((bool(turn & 4), bool(turn & 2), bool(turn & 1)) for turn in range(8))
"""(transpose, then reverse columns, reverse rows): the 8 symmetries of a square; the first changes nothing."""
_FINE, _COARSE, _SURROUNDINGS = 0.7, 2.0, 3.0
"""Standard deviations of Gaussians, pixels of the thumbnail. Structure between the first two scales is compared,
divided by its local strength within the third. Without the division a small dark spot in the middle or a microscope's
dark rim would dominate: unrelated images that share one would correlate above 0.9; with it they correlate by 0.80 at
most."""
_LEAST_STRENGTH = 0.5
"""Strength, grey levels, below which structure is rounding."""
_CROPS = (0.0, 0.05, 0.1)
"""Shares of the side, half of it on each end, by which one of the two images may be cropped closer than the other."""


def perceptual_hash(pixels: UInt8[np.ndarray, "height width 3"]) -> bytes:
    """Return the signs of the 256 lowest frequencies, without the mean, of the image in grey, stretched to a square.

    As by C. Zauner, "Implementation and benchmarking of perceptual image hash functions", 2010, but with more and
    finer frequencies. Measured on 1,200 images of the nine-class ISIC set and HAM10000 (180 and 224 pixels): half the
    size and JPEG quality 50 together change 8 bits in the median and 21 at the 99th percentile; a centred crop by 5 %
    of width and height changes 37 and 60; two different images differ in 127 ± 9 bits.
    """
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    squashed = cv2.resize(grey, (_SQUASHED_SIDE, _SQUASHED_SIDE), interpolation=cv2.INTER_AREA)
    signs = cv2.dct(squashed.astype(np.float32))[_ROW, _COLUMN] > 0
    return np.packbits(signs, bitorder="little").tobytes()


def unpack_hashes(hashes: UInt64[np.ndarray, "image 4"]) -> Bool[np.ndarray, "image 256"]:
    """Return the signs, lowest frequency first, of hashes whose bytes are viewed as four 64-bit integers."""
    octets = np.ascontiguousarray(hashes).view(np.uint8).reshape(len(hashes), HASH_BYTES)
    return np.unpackbits(octets, axis=1, bitorder="little").astype(bool)


def turn_hashes(hashes: UInt64[np.ndarray, "image 4"]) -> UInt64[np.ndarray, "8 image 4"]:
    """Return the hashes of each image's 8 rotations and mirrorings, itself first, computed from its hash.

    Mirroring changes the sign of the odd frequencies along the axis, and transposing swaps the axes. The chosen
    frequencies are closed under that swap, so the result is exact.
    """
    signs = unpack_hashes(hashes)
    turned = np.empty((len(_TURNS), len(hashes), 4), np.uint64)
    for number, (transpose, columns, rows) in enumerate(_TURNS):
        flips = (rows * _ROW + columns * _COLUMN) % 2 == 1
        bits = (signs[:, _TRANSPOSED] if transpose else signs) ^ flips
        turned[number] = np.packbits(np.ascontiguousarray(bits), axis=1, bitorder="little").view(np.uint64)
    return turned


def build_thumbnail(pixels: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "32 32"]:
    """Return the whole image in grey, stretched to a square."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    thumbnail = cv2.resize(grey, (THUMBNAIL_SIDE, THUMBNAIL_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(thumbnail, np.uint8)


def similarity(
    first: UInt8[np.ndarray, "pair 32 32"], second: UInt8[np.ndarray, "pair 32 32"]
) -> Float32[np.ndarray, " pair"]:
    """Return the correlation of local structure of pairs of thumbnails, in [-1, 1].

    It is the largest one over the 8 rotations and mirrorings and over closer crops of either image. An image without
    structure has a correlation of 0 with any image, even itself.

    >>> lesion = np.random.default_rng(0).integers(0, 256, (1, 32, 32), np.uint8)
    >>> float(similarity(lesion, lesion[:, ::-1])[0]) > 0.99  # it is the same, mirrored
    True
    """
    a, b = _describe(first), _describe(second)
    best = np.full(len(first), -1, np.float32)
    for turn in _TURNS:
        turned = _turn(b, turn)
        # One of the two images is cropped, never both.
        for i, j in [(crop, 0) for crop in range(len(_CROPS))] + [(0, crop) for crop in range(1, len(_CROPS))]:
            np.maximum(best, np.einsum("pij,pij->p", a[i], turned[j]), out=best)
    return np.minimum(best, 1)


def _describe(thumbnails: UInt8[np.ndarray, "image 32 32"]) -> Float32[np.ndarray, "crop image 32 32"]:
    """Return the local structure of each thumbnail for each of ``_CROPS``, scaled to length 1; 0 without structure."""
    grey = thumbnails.astype(np.float32)
    described = np.empty((len(_CROPS), *grey.shape), np.float32)
    for number, crop in enumerate(_CROPS):
        zoom = _zoom_matrix(crop)
        detail = _filter(_blur_matrix(_FINE) @ zoom, grey) - _filter(_blur_matrix(_COARSE) @ zoom, grey)
        strength = np.sqrt(_filter(_blur_matrix(_SURROUNDINGS), detail * detail))
        detail /= strength + _LEAST_STRENGTH
        detail -= detail.mean(axis=(1, 2), keepdims=True)
        length = np.sqrt((detail * detail).sum(axis=(1, 2), keepdims=True))
        described[number] = np.where(length > 1, detail / np.maximum(length, 1), 0)
    return described


def _turn(
    thumbnails: Float32[np.ndarray, "crop image 32 32"], turn: tuple[bool, bool, bool]
) -> Float32[np.ndarray, "crop image 32 32"]:
    transpose, columns, rows = turn
    turned = thumbnails.swapaxes(2, 3) if transpose else thumbnails
    turned = turned[:, :, ::-1] if rows else turned
    return np.ascontiguousarray(turned[..., ::-1] if columns else turned)


def _lowest_frequencies() -> tuple[Int64[np.ndarray, " bit"], Int64[np.ndarray, " bit"], Int64[np.ndarray, " bit"]]:
    """Return row, column and the index of the transposed frequency, lowest frequency first, without the mean."""
    side = range(_SQUASHED_SIDE)
    every = sorted(itertools.product(side, side), key=lambda place: (place[0] ** 2 + place[1] ** 2, min(place)))
    chosen = every[1 : HASH_BITS + 1]
    place = {frequency: number for number, frequency in enumerate(chosen)}
    row, column = np.array(chosen).T
    return row, column, np.array([place[j, i] for i, j in chosen])


def _blur_matrix(deviation: float) -> Float32[np.ndarray, "32 32"]:
    place = np.arange(THUMBNAIL_SIDE)
    weight = np.exp(-((place[:, None] - place) ** 2) / (2 * deviation**2))
    return np.asarray(weight / weight.sum(axis=1, keepdims=True), np.float32)


def _zoom_matrix(crop: float) -> Float32[np.ndarray, "32 32"]:
    """Return the matrix that samples the middle part of a row of pixels by linear interpolation."""
    centres = (np.arange(THUMBNAIL_SIDE) + 0.5) * (1 - crop) + THUMBNAIL_SIDE * crop / 2 - 0.5
    distance = np.abs(centres[:, None] - np.arange(THUMBNAIL_SIDE))
    return np.asarray(np.maximum(1 - distance, 0), np.float32)


def _filter(
    matrix: Float32[np.ndarray, "32 32"], images: Float32[np.ndarray, "image 32 32"]
) -> Float32[np.ndarray, "image 32 32"]:
    """Return the images filtered by a matrix along both axes."""
    filtered: Float32[np.ndarray, "image 32 32"] = matrix @ (images @ matrix.T)
    return filtered


_ROW, _COLUMN, _TRANSPOSED = _lowest_frequencies()
