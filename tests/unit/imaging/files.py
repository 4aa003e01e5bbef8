"""Encoded pictures as other programs write them: Pillow's formats, a TIFF of any kind of samples, an ICC profile."""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping, Sequence
from typing import Literal

import cv2
import numpy as np
from PIL import Image

Order = Literal["<", ">"]
"""Of bytes in a TIFF: little-endian or big-endian."""
ORIENTATION = 0x0112
_TIFF_SIZES = {2: 1, 3: 2, 4: 4, 11: 4, 12: 8}
_TIFF_LETTERS = {2: "s", 3: "H", 4: "I", 11: "f", 12: "d"}
_KINDS = {"u": 1, "i": 2, "f": 3}
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_D50 = np.array([0.9642, 1, 0.8249])


def draw_picture(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    """A smooth picture that looks the same in no two orientations."""
    coarse = np.random.default_rng(seed).integers(40, 216, (5, 6, 3)).astype(np.float32)
    coarse[0, 0], coarse[-1, -1] = 255, 0
    return np.clip(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), 0, 255).astype(np.uint8)


def draw_grey(height: int = 96, width: int = 128, seed: int = 0) -> np.ndarray:
    return np.ascontiguousarray(draw_picture(height, width, seed)[:, :, 1])


def encode(pixels: np.ndarray, kind: str = "JPEG", mode: str | None = None, **options: object) -> bytes:
    image = Image.fromarray(pixels)
    return encode_image(image.convert(mode) if mode else image, kind, **options)


def encode_image(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def encode_with_opencv(pixels: np.ndarray, ending: str) -> bytes:
    stored = pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, *range(3, pixels.shape[2])]]
    return cv2.imencode(ending, stored)[1].tobytes()


def exif_of(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif.tobytes()  # not the object, whose orientation the HEIF encoder wouldn't store


def turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Store an upright picture as a camera of this orientation does: the inverse of turning upright."""
    image = Image.fromarray(pixels)
    how = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }.get(orientation)
    return np.asarray(image if how is None else image.transpose(how))


def difference(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())


def write_tiff(
    samples: np.ndarray,
    *,
    order: Order = "<",
    photometric: int | None = None,
    packed_bits: int | None = None,
    tags: Mapping[int, tuple[int, Sequence[object]]] | None = None,
) -> bytes:
    """An uncompressed TIFF of one strip. ``tags`` (number: type and values) replace or add to the necessary ones."""
    height, width = samples.shape[:2]
    num_bands = samples.shape[2] if samples.ndim == 3 else 1
    bits = packed_bits or samples.dtype.itemsize * 8
    content = _pack(samples, bits) if packed_bits else samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    entries: dict[int, tuple[int, Sequence[object]]] = {
        256: (4, [width]),
        257: (4, [height]),
        258: (3, [bits] * num_bands),
        259: (3, [1]),
        262: (3, [(2 if num_bands >= 3 else 1) if photometric is None else photometric]),
        273: (4, [0]),
        277: (3, [num_bands]),
        278: (4, [height]),
        279: (4, [len(content)]),
        339: (3, [_KINDS[samples.dtype.kind]] * num_bands),
    } | dict(tags or {})
    return _lay_out(entries, content, order)


def matrix_profile(primaries: Sequence[tuple[float, float]], gamma: float) -> bytes:
    """An ICC profile, version 2, of a display with these red, green and blue (CIE x, y), a white of D65, a gamma."""

    def to_xyz(x: float, y: float) -> np.ndarray:
        return np.array([x / y, 1, (1 - x - y) / y])

    white = to_xyz(0.3127, 0.3290)
    colours = np.stack([to_xyz(*primary) for primary in primaries], axis=1)
    colours = colours * np.linalg.solve(colours, white)
    adaptation = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ white)) @ _BRADFORD
    red, green, blue = (adaptation @ colours).T
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    tags = {b"rXYZ": _xyz(red), b"gXYZ": _xyz(green), b"bXYZ": _xyz(blue), b"wtpt": _xyz(_D50)}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    return _icc(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of a grey scale with a gamma."""
    curve = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(gamma * 256))
    return _icc(b"GRAY", {b"kTRC": curve, b"wtpt": _xyz(_D50)})


def _pack(samples: np.ndarray, bits: int) -> bytes:
    rows = samples.reshape(samples.shape[0], -1)
    places = np.arange(bits - 1, -1, -1)
    return b"".join(np.packbits((row[:, None] >> places & 1).astype(np.uint8).ravel()).tobytes() for row in rows)


def _lay_out(entries: dict[int, tuple[int, Sequence[object]]], content: bytes, order: str) -> bytes:
    start = 8 + 2 + 12 * len(entries) + 4
    num_beside = sum(_TIFF_SIZES[kind] * len(values) for kind, values in entries.values())
    entries[273] = (4, [start + num_beside])
    beside, directory = b"", b""
    for tag, (kind, values) in sorted(entries.items()):
        packed = struct.pack(order + _TIFF_LETTERS[kind] * len(values), *values)
        if len(packed) > 4:
            directory += struct.pack(order + "HHII", tag, kind, len(values), start + len(beside))
            beside += packed
        else:
            directory += struct.pack(order + "HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    magic = b"II*\0" if order == "<" else b"MM\0*"
    head = magic + struct.pack(order + "IH", 8, len(entries)) + directory + bytes(4)
    return head + beside.ljust(num_beside, b"\0") + content


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def _icc(space: bytes, tags: Mapping[bytes, bytes]) -> bytes:
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", start + len(body), len(content))
        body += content
    illuminant = _xyz(_D50)[8:]
    head = struct.pack(
        ">I4xI4s4s4s12x4s28x12s48x", start + len(body), 0x02400000, b"mntr", space, b"XYZ ", b"acsp", illuminant
    )
    return head + struct.pack(">I", len(tags)) + table + body
