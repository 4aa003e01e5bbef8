"""Forms that no browser sends: without an end, of hundreds of parts, nested, in character sets that are none."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from encodings.aliases import aliases
from random import Random

from tests.hostile.attack import OPERATIONS, Attack, Headers, Maker
from tests.hostile.images import draw_image, encoded

Form = tuple[bytes, bytes]
"""Content-Type and body."""
_NAMES = (
    *(
        b"image",
        b"",
        b"Image",
        b"image[]",
        b"image\x00",
        b"../../etc/passwd",
        b"\xff\xfe",
        b"\\ud800",
        b"+2AA-",
        b"%00",
    ),
    *(
        b"a" * 5000,
        b'"',
        b"\xf0\x9f\x94\xac",
        b"<script>",
        b"__proto__",
        b"\\",
        b"con",
        b"\xed\xa0\x80",
        b"C:\\a\\b.png",
    ),
)


def draw_form_attack(maker: Maker) -> Attack:
    """Return a request with a hostile form."""
    name = maker.rng.choice(list(_MAKERS))
    content_type, body = _MAKERS[name](maker.rng)
    target = maker.rng.choice(OPERATIONS)
    headers: Headers = [(b"Content-Type", content_type)]
    return maker.attack("form", name, maker.request(target=target, headers=headers, body=body), may_answer=True)


def part(name: bytes = b"image", filename: bytes | None = b"a.png", body: bytes = b"x", extra: bytes = b"") -> bytes:
    """Return a part of a form with the boundary B."""
    file = b"" if filename is None else b'; filename="' + filename + b'"'
    return (
        b'--B\r\nContent-Disposition: form-data; name="'
        + name
        + b'"'
        + file
        + b"\r\n"
        + extra
        + b"\r\n"
        + body
        + b"\r\n"
    )


_END = b"--B--\r\n"
_TYPE = b"multipart/form-data; boundary=B"


def _good(rng: Random) -> bytes:
    return part(body=encoded(rng.choice(("PNG", "JPEG"))))


def _boundary(rng: Random) -> Form:
    kinds = (
        *(
            b"multipart/form-data",
            b"multipart/form-data; boundary=",
            b'multipart/form-data; boundary="',
            b"MULTIPART/FORM-DATA",
        ),
        *(b"multipart/form-data; boundary=" + b"B" * 3000, b"multipart/form-data; boundary=B; boundary=C"),
        *(
            b"multipart/form-data; boundary=\xff",
            b"multipart/form-data; boundary*=utf-8''B",
            b"multipart/form-data;;;=;",
        ),
        *(b"multipart/form-data; boundary=A", b"multipart/mixed; boundary=B", b"multipart/form-datax; boundary=B"),
        *(
            b"multipart/form-data; boundary=B; charset*=utf-16''x",
            b"multipart/form-data, multipart/form-data; boundary=B",
        ),
    )
    return rng.choice(kinds), _good(rng) + _END


def _no_end(rng: Random) -> Form:
    whole = _good(rng)
    return _TYPE, rng.choice(
        (whole, whole[: rng.randrange(len(whole))], whole + b"--B", whole + _END + b"more" * 99, b"")
    )


def _many(rng: Random) -> Form:
    number = rng.choice((17, 33, 500, 5000))
    return _TYPE, part(filename=rng.choice((None, b"a.png"))) * number + _good(rng) + _END


def _names(rng: Random) -> Form:
    return _TYPE, part(name=rng.choice(_NAMES), filename=rng.choice((None, *_NAMES)), body=encoded("PNG")) + _END


def _charset(rng: Random) -> Form:
    charset = rng.choice(
        (*sorted({*aliases.values()}), "undefined", "idna", "x" * 500, '"a\\"b"', "utf-8; charset=idna")
    )
    name = rng.choice((b"image", b"image", rng.choice(_NAMES)))
    return _TYPE + b"; charset=" + charset.encode(), part(name, rng.choice(_NAMES), encoded("PNG")) + _END


def _large_headers(rng: Random) -> Form:
    size = rng.choice((5_000, 100_000, 2_000_000))
    header = rng.choice((b"X-A: " + b"a" * size, b"X-" + b"a" * size + b": 1", b"X-A: 1\r\n" * (size // 8) + b"X-B: 1"))
    return _TYPE, part(extra=header + b"\r\n", body=encoded("PNG")) + _END


def _broken_headers(rng: Random) -> Form:
    heads = (
        *(
            b"--B\r\n\r\nx\r\n",
            b"--B\r\nContent-Disposition: form-data\r\n\r\nx\r\n",
            b"--B\nContent-Disposition: a\n\nx\n",
        ),
        *(
            b"--B\r\n: x\r\n\r\nx\r\n",
            b"--B\r\nContent-Disposition\r\n\r\nx\r\n",
            b"--B\r\n\x00: \x00\r\n\r\nx\r\n",
            b"--B\r",
        ),
        *(
            b"--B\r\nContent-Disposition: form-data; name=\"image\"; filename*=utf-8''%ed%a0%80\r\n\r\nx\r\n",
            b"----B--",
        ),
        *(
            b"--B\r\nContent-Disposition: attachment; filename=x\r\n\r\nx\r\n",
            b"--B\r\n\r\n",
            b"\r\n" * 2000,
            b"-" * 3000,
        ),
        part(extra=b"Content-Transfer-Encoding: base64\r\n", body=b"AA=="),
    )
    return _TYPE, rng.choice(heads) + rng.choice((b"", _good(rng))) + rng.choice((b"", _END))


def _nested(rng: Random) -> Form:
    body = b"x"
    for _ in range(rng.choice((2, 50))):
        body = part(filename=None, extra=b"Content-Type: multipart/mixed; boundary=B\r\n", body=body) + _END
    return _TYPE, body


def _image(rng: Random) -> Form:
    parts = [
        part(rng.choice((b"image", b"image", b"other")), b"a.png", draw_image(rng)[1])
        for _ in range(rng.randrange(1, 5))
    ]
    return _TYPE, b"".join(parts) + _END


def _no_form(rng: Random) -> Form:
    """Another type or encoding of content than is asked for."""
    kinds = (
        b"application/json",
        b"application/x-www-form-urlencoded",
        b"text/html",
        b"",
        b"/",
        b";",
        b"\xff\xff",
        b"a" * 9000,
    )
    bodies = (
        b'{"image": "' + b"a" * 999 + b'"}',
        b"[" * 50_000,
        b"image=x&image=y",
        b"<a/>",
        encoded("JPEG"),
        b"\x00" * 99,
    )
    return rng.choice(kinds), rng.choice(bodies)


def _large_fields(rng: Random) -> Form:
    size = rng.choice((1 << 20, (1 << 20) + 1, 3 << 20))
    return _TYPE, part(b"note", None, b"a" * size) + _good(rng) + _END


_MAKERS: dict[str, Callable[[Random], Form]] = {
    "boundary": _boundary,
    "no end": _no_end,
    "many parts": _many,
    "names": _names,
    "character set": _charset,
    "large headers of a part": _large_headers,
    "broken headers of a part": _broken_headers,
    "nested": _nested,
    "hostile images": _image,
    "no form": _no_form,
    "large fields": _large_fields,
}
assert codecs.lookup("idna")  # part of every Python: it isn't among the aliases
