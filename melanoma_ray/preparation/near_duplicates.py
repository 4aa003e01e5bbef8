"""Pairs of pictures that look the same: found through parts of their hashes, confirmed by their thumbnails.

The rule: no step compares all pairs, and none holds more than a piece of the comparisons in memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8, UInt64

from melanoma_ray.imaging.perceptual import similarity, turn_hashes, unpack_hashes

logger = logging.getLogger(__name__)

LEAST_SIMILARITY = 0.9
"""Measured on the nine-class ISIC set with HAM10000 (8,225 images): 99.5 % of 1,200 copies each (halved, at JPEG
quality 50, turned, cropped by 3 to 10 %) reach 0.94; of pairs of different pictures with close hashes none exceeds
0.80. Between the two, up to 0.91 but for one pair, lie second photographs of one lesion."""
MAX_DISTANCE = 56
"""Bits of 256. In the same images, copies cropped by 5 % of width and height differ in 51 at the 95th percentile,
halved ones at JPEG quality 50 in 29 at most; of 34 million pairs of different images some 200 are nearer, most of
them with a spot or a round rim in the same place."""
_MAX_LOW_DISTANCE = 16
"""Of the 64 lowest frequencies, bits: copies cropped by 5 % differ in 11 at the 99th percentile."""
_NUM_BANDS, _BAND_BITS, _NUM_LOW = 32, 18, 80
"""A pair is looked at if all bits of one band agree. Bands are drawn from the lowest frequencies, which copies share
most: 96 % of copies cropped by 5 % and all re-compressed ones meet in one, and among 400,000 images there are
some 400 million other meetings (extrapolated from the same images)."""
_MAX_NEIGHBOURS = 256
"""Meetings of one image in one band: among masses of equal pictures each meets only those next to it."""
_MEETINGS_AT_ONCE = 1_000_000
_PAIRS_AT_ONCE = 1_024


@dataclass(frozen=True, kw_only=True, slots=True)
class NearDuplicates:
    """Pairs of images that look the same."""

    pairs: Int64[np.ndarray, "pair 2"]
    """Places in the table of hashes, smaller first, sorted; of images with one hash, each is paired with the first."""
    similarity: Float32[np.ndarray, " pair"]
    """``perceptual.similarity``, at least ``LEAST_SIMILARITY``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Band:
    places: Int64[np.ndarray, " bit"]
    """Of its bits in the hash."""
    entries: UInt64[np.ndarray, " image"]
    """Key in the upper 32 bits, image in the lower ones; sorted."""
    ends: Int64[np.ndarray, " key"]
    """Where the entries of each key end."""


def find_near_duplicates(
    hashes: UInt64[np.ndarray, "image 4"],
    load_thumbnails: Callable[[Int64[np.ndarray, " image"]], UInt8[np.ndarray, "image 32 32"]],
) -> NearDuplicates:
    """Find pictures that are copies of each other: resized, re-compressed, turned, mirrored, cropped a little.

    Args:
        hashes: From ``perceptual_hash``, the 32 bytes as four words.
        load_thumbnails: Returns those of some images, in the order asked for; called once, for the candidates.
    """
    candidates = find_candidates(hashes)
    images, place = np.unique(candidates, return_inverse=True)
    thumbnails = load_thumbnails(images)  # once, since files are slow to open; a kilobyte each
    scores = np.empty(len(candidates), np.float32)
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        first, second = place.reshape(-1, 2)[start : start + _PAIRS_AT_ONCE].T
        scores[start : start + len(first)] = similarity(thumbnails[first], thumbnails[second])
    confirmed = scores >= LEAST_SIMILARITY
    logger.info("%d pairs of images look the same, of %d with close hashes", confirmed.sum(), len(candidates))
    return NearDuplicates(pairs=candidates[confirmed], similarity=scores[confirmed])


def find_candidates(hashes: UInt64[np.ndarray, "image 4"]) -> Int64[np.ndarray, "pair 2"]:
    """Return pairs of images whose hashes are close in some turn, smaller place first, sorted, each once.

    Images of equal hash are joined to the first of them, which alone meets the others.
    """
    if not len(hashes):
        return np.empty((0, 2), np.int64)
    _, first, inverse = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
    representative = first[inverse.reshape(-1)]
    places = np.arange(len(hashes))
    repeated = np.flatnonzero(representative != places)
    equal = np.stack([representative[repeated], repeated], axis=1)
    distinct = np.flatnonzero(representative == places)
    close = distinct[_find_close(hashes[distinct])]
    pairs = np.concatenate([equal, close])
    return pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))].astype(np.int64)


def _find_close(hashes: UInt64[np.ndarray, "image 4"]) -> Int64[np.ndarray, "pair 2"]:
    bands = _build_bands(hashes)
    found, num_crowded = [np.empty(0, np.int64)], 0
    for turned in turn_hashes(hashes):
        signs = np.ascontiguousarray(unpack_hashes(turned).T)
        of_turn = []
        for band in bands:
            starts, ends = _meet(band, signs)
            num_crowded = max(num_crowded, int((ends - starts > _MAX_NEIGHBOURS).sum()))
            for query, other in _list_meetings(band, starts, np.minimum(ends, starts + _MAX_NEIGHBOURS)):
                near = _is_near(turned, hashes, query, other)
                of_turn.append(query[near] * len(hashes) + other[near])
        found.append(np.unique(np.concatenate(of_turn)))
    if num_crowded:
        logger.info("%d images look roughly like masses of others: met only those next to them", num_crowded)
    return np.stack(np.divmod(np.unique(np.concatenate(found)), len(hashes)), axis=1)


def _build_bands(hashes: UInt64[np.ndarray, "image 4"]) -> list[_Band]:
    """Deal the low frequencies to the bands, so that each is used equally often and no band has one twice."""
    signs = np.ascontiguousarray(unpack_hashes(hashes).T)
    random = np.random.default_rng(0)
    deck: list[int] = []
    bands = []
    for _ in range(_NUM_BANDS):
        if len(deck) < _BAND_BITS:
            deck += [place for place in random.permutation(_NUM_LOW).tolist() if place not in deck]
        places, deck = np.array(deck[:_BAND_BITS]), deck[_BAND_BITS:]
        entries = np.sort(_keys(signs, places) << np.uint64(32) | np.arange(len(hashes), dtype=np.uint64))
        limits = np.arange(1, 2**_BAND_BITS + 1, dtype=np.uint64) << np.uint64(32)
        bands.append(_Band(places=places, entries=entries, ends=np.searchsorted(entries, limits)))
    return bands


def _keys(signs: Bool[np.ndarray, "256 image"], places: Int64[np.ndarray, " bit"]) -> UInt64[np.ndarray, " image"]:
    keys = np.zeros(signs.shape[1], np.uint64)
    for place in places:
        keys = keys << np.uint64(1) | signs[place]
    return keys


def _meet(
    band: _Band, signs: Bool[np.ndarray, "256 image"]
) -> tuple[Int64[np.ndarray, " image"], Int64[np.ndarray, " image"]]:
    """Return from where to where in the band's entries each image meets later ones.

    Later ones only: a pair met from the other side is met in the opposite turn.
    """
    keys = _keys(signs, band.places)
    later = np.arange(1, len(keys) + 1, dtype=np.uint64)
    return np.searchsorted(band.entries, keys << np.uint64(32) | later), band.ends[keys]


def _list_meetings(
    band: _Band, starts: Int64[np.ndarray, " image"], ends: Int64[np.ndarray, " image"]
) -> Iterator[tuple[Int64[np.ndarray, " meeting"], Int64[np.ndarray, " meeting"]]]:
    """Yield the two images of each meeting, about a million meetings at a time."""
    totals = np.cumsum(ends - starts)
    cuts = np.searchsorted(totals, np.arange(_MEETINGS_AT_ONCE, totals[-1], _MEETINGS_AT_ONCE))
    for images in np.split(np.arange(len(starts)), cuts):
        counts = (ends - starts)[images]
        query = np.repeat(images, counts)
        before = np.cumsum(counts) - counts
        place = np.arange(len(query)) + np.repeat(starts[images] - before, counts)
        yield query, (band.entries[place] & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _is_near(
    turned: UInt64[np.ndarray, "image 4"],
    hashes: UInt64[np.ndarray, "image 4"],
    query: Int64[np.ndarray, " meeting"],
    other: Int64[np.ndarray, " meeting"],
) -> Bool[np.ndarray, " meeting"]:
    """Tell the meetings whose hashes are close; the lowest frequencies are compared first, as most differ there."""
    near = np.bitwise_count(turned[query, 0] ^ hashes[other, 0]) <= _MAX_LOW_DISTANCE
    left = np.flatnonzero(near)
    near[left] = np.bitwise_count(turned[query[left]] ^ hashes[other[left]]).sum(axis=1) <= MAX_DISTANCE
    return np.asarray(near, np.bool_)
