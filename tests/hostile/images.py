"""Images that no dermatoscope makes: damaged, of two formats at once, enormous, empty, or larger than they look."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
from PIL import Image

from tests.fuzz.seeds import build_seeds
from tests.hostile.attack import OPERATIONS, Attack, Maker

ImageMaker = Callable[[Random], bytes]
MAGICS = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"II*\x00", b"MM\x00+", b"BM", b"RIFF\xff\xff\xff\xffWEBP"),
    *(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\x00\x00\x00\x18ftypheic", b"\x00\x00\x00\x18ftypavif"),
    *(b"%PDF-1.7", b"%!PS-Adobe", b"PK\x03\x04", b"\x1f\x8b\x08", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
    *(
        b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>",
        b"#!/bin/sh\n",
        b"P6\n99 99\n255\n",
    ),
    *(b"8BPS\x00\x01", b"\x00\x00\x01\x00\x01\x00", b"DICM", b"qoif", b"#?RADIANCE\n", b"\x76\x2f\x31\x01"),
)


@functools.cache
def seeds() -> list[bytes]:
    """Return whole files of every format, the last ones with 16 bits and of another colour space."""
    return build_seeds()


def draw_image(rng: Random) -> tuple[str, bytes]:
    """Return a hostile image, and what it is."""
    (name,) = rng.choices(list(_MAKERS), list(_WEIGHTS.values()))
    return name, _MAKERS[name](rng)


def draw_image_attack(maker: Maker) -> Attack:
    """Return a request with a hostile image as its body."""
    name, body = draw_image(maker.rng)
    target = maker.rng.choices(OPERATIONS[:2], (4, 1))[0]
    content_type = maker.rng.choice((b"image/png", b"image/jpeg", b"application/octet-stream", b"image/*"))
    as_json = [(b"Accept", b"application/json")] if maker.rng.random() < 0.2 else []
    content = maker.request(target=target, headers=[(b"Content-Type", content_type), *as_json], body=body)
    return maker.attack("image", name, content, may_answer=True)


def _flip(rng: Random) -> bytes:
    content = bytearray(rng.choice(seeds()))
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def _flip_head(rng: Random) -> bytes:
    content = bytearray(rng.choice(seeds()))
    for _ in range(rng.choice((1, 2, 4))):
        content[rng.randrange(min(96, len(content)))] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
    return bytes(content)


def _cut(rng: Random) -> bytes:
    content = rng.choice(seeds())
    return content[: rng.randrange(len(content))]


def _graft(rng: Random) -> bytes:
    content, other = rng.choice(seeds()), rng.choice(seeds())
    place, length = rng.randrange(len(content)), rng.randrange(1, 200)
    return content[:place] + other[place : place + length] + content[place + rng.randrange(length) :]


def _wrong_magic(rng: Random) -> bytes:
    content, magic = rng.choice(seeds()), rng.choice(MAGICS)
    return magic + content[len(magic) :] if rng.random() < 0.5 else magic + content


def _polyglot(rng: Random) -> bytes:
    ending = rng.choice(
        (b"<script>alert(1)</script>", b"%PDF-1.7\n%%EOF", b"PK\x05\x06" + bytes(18), rng.choice(seeds()))
    )
    content = rng.choice(seeds())
    return content + ending * rng.choice((1, 3, 50)) if rng.random() < 0.7 else ending + content


def _noise(rng: Random) -> bytes:
    return rng.choice((b"", *MAGICS)) + rng.randbytes(rng.choice((0, 1, 7, 100, 5000)))


def png_chunk(name: bytes, content: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int, height: int, data: bytes, *, depth: int = 8, colour: int = 2, extra: bytes = b"") -> bytes:
    """Return a PNG whose header says what one likes."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")


@functools.cache
def _zeros(num_bytes: int) -> bytes:
    """Return many zeros, deflated to a thousandth."""
    deflater = zlib.compressobj(9)
    block = bytes(1 << 20)
    pieces = [deflater.compress(block[: min(1 << 20, num_bytes - start)]) for start in range(0, num_bytes, 1 << 20)]
    return b"".join(pieces) + deflater.flush()


def _png_bomb(rng: Random) -> bytes:
    """Few pixels and a gigabyte of data, or a small file of many pixels, below or above the limit of pixels."""
    if rng.random() < 0.5:
        return png(64, 64, _zeros(1 << 28))
    width, height, depth = rng.choice(((5000, 5000, 8), (3000, 3000, 16), (20_000, 20_000, 8), (100_000_000, 1, 1)))
    return png(width, height, _zeros(min(1 << 28, height * (1 + width * 3 * depth // 8))), depth=depth)


def _png_text_bomb(rng: Random) -> bytes:
    packed = _zeros(1 << 28)
    name, content = rng.choice(((b"zTXt", b"a\x00\x00"), (b"iCCP", b"a\x00\x00"), (b"iTXt", b"a\x00\x01\x00\x00\x00")))
    return png(64, 64, _zeros(64 * 193), extra=png_chunk(name, content + packed) * rng.choice((1, 3)))


def _sizes(rng: Random) -> tuple[int, int]:
    sides = (0, 1, 7, 8, 64, 65_535, 65_536, 2**31 - 1, 2**32 - 1)
    return rng.choice(sides), rng.choice(sides)


def _png_size(rng: Random) -> bytes:
    return png(*_sizes(rng), _zeros(64 * 193), depth=rng.choice((0, 1, 8, 16, 255)), colour=rng.randrange(8))


def _patched(rng: Random) -> bytes:
    """Another width and height at their place in the header of each format."""
    kind = rng.choice(("JPEG", "GIF", "WEBP", "JPEG2000", "AVIF", "HEIF", "BMP", "TIFF"))
    content, (width, height) = bytearray(encoded(kind)), _sizes(rng)
    big, small = struct.pack(">II", width, height), struct.pack("<II", width, height)
    if kind == "JPEG":
        place = content.index(b"\xff\xc0") + 5
        content[place : place + 4] = struct.pack(">HH", height & 0xFFFF, width & 0xFFFF)
    elif kind == "GIF":
        content[6:10] = struct.pack("<HH", width & 0xFFFF, height & 0xFFFF)
    elif kind == "WEBP":
        content[26:30] = struct.pack("<HH", width & 0x3FFF, height & 0x3FFF)
    elif kind == "BMP":
        content[18:26] = small
    elif kind == "TIFF":
        return tiff(width, height, _zeros(1 << 20), rng)
    elif kind == "JPEG2000":
        place = content.index(b"\xff\x51") + 6
        content[place : place + 8] = big
        if rng.random() < 0.5:  # and tiles of one pixel
            content[place + 16 : place + 24] = struct.pack(">II", 1, 1)
    else:
        place = content.index(b"ispe") + 8
        content[place : place + 8] = big
    return bytes(content)


@functools.cache
def encoded(kind: str) -> bytes:
    """Return a small whole image of a format."""
    rows, columns = np.mgrid[0:48, 0:64]
    buffer = io.BytesIO()
    Image.fromarray(np.stack([rows * 5, columns * 4, rows + columns], axis=2).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def tiff(width: int, height: int, data: bytes, rng: Random) -> bytes:
    """Return a TIFF with one deflated strip or tile, whose tags say what one likes; sometimes its pages are a ring."""
    tags = {256: width, 257: height, 258: rng.choice((1, 8, 16, 32)), 259: 8, 262: rng.choice((1, 2, 5)), 277: 3}
    if rng.random() < 0.5:
        tags |= {322: rng.choice((16, width)), 323: rng.choice((16, height)), 324: 8, 325: len(data)}
    else:
        tags |= {273: 8, 278: rng.choice((1, height)), 279: rng.choice((0, len(data), 2**32 - 1))}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value & 0xFFFFFFFF) for tag, value in sorted(tags.items()))
    place = 8 + len(data)
    following = rng.choice((0, place, 2**32 - 1))
    return (
        b"II*\x00"
        + struct.pack("<I", place)
        + data
        + struct.pack("<H", len(tags))
        + entries
        + struct.pack("<I", following)
    )


def _tiff_bomb(rng: Random) -> bytes:
    width, height = rng.choice(((4000, 4000), (20_000, 20_000), (64, 64)))
    return tiff(width, height, _zeros(1 << 28), rng)


@functools.cache
def _bomb(kind: str) -> bytes:
    """Return an image of one colour, of 16 million pixels in some kilobytes."""
    buffer = io.BytesIO()
    side = 4000
    options: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"speed": 10} if kind == "AVIF" else {}
    Image.new("RGB", (side, side), (180, 120, 100)).save(buffer, kind, **options)
    return buffer.getvalue()


def _format_bomb(rng: Random) -> bytes:
    return _bomb(rng.choice(("GIF", "TIFF", "WEBP", "JPEG2000", "HEIF", "AVIF", "JPEG")))


@functools.cache
def _animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (64, 48), (number, 255 - number, 90)) for number in range(200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:], duration=1)
    return buffer.getvalue()


def _animated(rng: Random) -> bytes:
    return _animation(rng.choice(("GIF", "PNG", "WEBP", "TIFF")))


def _rubbish_profile(rng: Random) -> bytes:
    """ICC and EXIF that are rubbish, in JPEG, PNG and WebP."""
    exif = b"Exif\x00\x00" + rng.choice((b"II*\x00\x08\x00\x00\x00", b"MM\x00*\x00\x00\x00\x08")) + rng.randbytes(80)
    icc = rng.choice((rng.randbytes(200), b"", bytes(128), struct.pack(">I", 2**31) + rng.randbytes(124)))
    buffer = io.BytesIO()
    kind, mode = rng.choice((("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("PNG", "RGB"), ("WEBP", "RGB")))
    Image.new(mode, (64, 48), 120).save(buffer, kind, exif=exif, icc_profile=icc)
    return buffer.getvalue()


def _scans(rng: Random) -> bytes:
    """A progressive JPEG whose last scan comes a thousand times: each one costs a pass over all coefficients."""
    buffer = io.BytesIO()
    Image.new("RGB", (1500, 1500), (180, 120, 100)).save(buffer, "JPEG", progressive=True)
    content = buffer.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:-2] + content[last:-2] * rng.choice((10, 300)) + b"\xff\xd9"


_MAKERS: dict[str, ImageMaker] = {
    "bits flipped": _flip,
    "bytes of the header changed": _flip_head,
    "cut off": _cut,
    "a piece of another file in it": _graft,
    "wrong magic": _wrong_magic,
    "two formats at once": _polyglot,
    "noise": _noise,
    "PNG with another size": _png_size,
    "another size": _patched,
    "PNG bomb": _png_bomb,
    "bomb in a PNG's text or profile": _png_text_bomb,
    "TIFF bomb": _tiff_bomb,
    "16 million pixels in a few bytes": _format_bomb,
    "animated": _animated,
    "rubbish as profile and EXIF": _rubbish_profile,
    "a thousand scans": _scans,
}
_WEIGHTS = {
    **dict.fromkeys(_MAKERS, 10.0),
    **dict.fromkeys(("PNG bomb", "bomb in a PNG's text or profile", "TIFF bomb", "a thousand scans"), 0.5),
    "16 million pixels in a few bytes": 0.5,
    "animated": 3.0,
}
