"""Requests whose framing, path, method or headers try to be read in two ways, or to reach what isn't theirs."""

from __future__ import annotations

from urllib.parse import quote

from tests.hostile.attack import OPERATIONS, Attack, Headers, Maker, assemble
from tests.hostile.images import encoded

_SMUGGLED = b"GET /v1/model HTTP/1.1\r\nHost: triage.example\r\n\r\n"
_LAST_SMUGGLED = _SMUGGLED[:-2] + b"Connection: close\r\n\r\n"
_LENGTHS = (
    *(
        b"-1",
        b"+5",
        b"0",
        b"5, 5",
        b"5,6",
        b"0x10",
        b"1e3",
        b" ",
        b"\t5",
        b"5 5",
        b"9" * 19,
        b"9" * 5000,
        b"18446744073709551616",
    ),
    *(b"4294967296", b"99999999999", b"33554433", b"1_000", "٥".encode(), b"5;q=1", b"NaN", b"0000000005", b'"5"', b""),
)
_CHUNKS = (
    *(
        b"5\r\nhello\r\n0\r\n\r\n",
        b"0\r\n\r\n",
        b"G\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\n0\n\n",
    ),
    *(
        b"FFFFFFFFFFFFFFFF\r\nhello\r\n",
        b"FFFFFFFFFFFFFFFFF\r\nhello\r\n",
        b"5;" + b"a" * 20_000 + b"\r\nhello\r\n0\r\n\r\n",
    ),
    *(
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"0\r\nContent-Length: 5\r\n\r\n",
    ),
    *(
        b"\r\n\r\n",
        b"5\r\nhel",
        b"00000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        b'5;a="\n"\r\nhello\r\n0\r\n\r\n',
    ),
    *(b"1\r\na\r\n" * 3000 + b"0\r\n\r\n", b"0\r\n" + b"X-A: b\r\n" * 500 + b"\r\n", b"5\r\rhello\r\n0\r\n\r\n"),
)
_CODINGS = (
    *(
        b"chunked",
        b"Chunked",
        b"chunked, chunked",
        b"identity",
        b"gzip, chunked",
        b"xchunked",
        b" chunked",
        b"\x0bchunked",
    ),
    *(
        b"chunked\x00",
        b"chunked;q=1",
        b"chunked, identity",
        b"\tchunked",
        b"",
        b"deflate",
        b'"chunked"',
        b"chun\xefked",
    ),
)
_PATHS = (
    *(
        b"/",
        b"//",
        b"///v1/model",
        b"//triage.example/v1/model",
        b"/v1//model",
        b"/v1/./model",
        b"/v1/../v1/model",
        b"/%2e%2e/v1/model",
    ),
    *(
        b"/v1/%2e%2e/%2e%2e/etc/passwd",
        b"/..%2f..%2fetc/passwd",
        b"/v1/model;a=b",
        b"/v1;/model",
        b"/v1/model%00",
        b"/v1/model%0a",
    ),
    *(
        b"/v1%2fmodel",
        b"/%76%31/model",
        b"/V1/MODEL",
        b"/v1/model/",
        b"/v1/model/.",
        b"/v1/model%20",
        b"/v1/model%ff",
        b"/%ed%a0%80",
    ),
    *(
        b"/v1/model?",
        b"/v1/model??",
        b"/v1/model?a=%ff",
        b"/v1/model#a",
        b"/v1/model?a#b",
        b"\\v1\\model",
        b"/v1\\model",
        b"v1/model",
    ),
    *(
        b"*",
        b"http://triage.example/v1/model",
        b"https://other/v1/model",
        b"http://triage.example:0/v1/model",
        b"file:///etc/passwd",
    ),
    *(
        b"/v1/" + b"a" * 8000,
        b"/" + b"a/" * 7000,
        b"/" + b"%41" * 5000,
        b"/?" + b"a=b&" * 3500,
        b"/" + b"a" * 70_000,
        b"/\xff",
        b"/a b",
    ),
    *(
        b"/assets/../page.css",
        b"/assets/page.css%00.js",
        b"/assets/",
        b"/-/routes",
        b"/-/healthz",
        b"/-/",
        b"/metrics",
        b"/stats",
        b"/docs/..",
    ),
    *(
        b"/openapi.json?a",
        b"/login",
        b"/logout",
        b"/.git/config",
        b"/.env",
        b"/redoc",
        b"/serve/api",
        b"/api/jobs/",
        b"/?language=../en",
    ),
    *(
        b"/docs?a=<script>",
        b"/%3Cscript%3E",
        b"/?language=%00",
        b"/\x7f",
        b"/\x01",
        b"/v1/predict%3Fage=1",
        b"/v1/model?\xc3\xa9",
        b"",
    ),
)
_METHODS = (
    *(
        b"HEAD",
        b"OPTIONS",
        b"TRACE",
        b"CONNECT",
        b"PUT",
        b"DELETE",
        b"PATCH",
        b"PROPFIND",
        b"get",
        b"POST",
        b"GET",
        b"QUERY",
    ),
    *(b"", b"G\x00T", b"A" * 300, b"GET GET", b"\xff", b"PRI", b"(GET)", b"GET\t", b"M-SEARCH"),
)
_VERSIONS = (
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/0.9",
    b"HTTP/2.0",
    b"HTTP/9.9",
    b"",
    b"HTTP/1.10",
    b"http/1.1",
    b"HTTP/1.1 ",
    b"ICY/1.0",
    b"HTTP/1.1\r",
)
_VALUES = (
    *(
        b"",
        b" ",
        b"a" * 300,
        b"a" * 14_000,
        b"a" * 1_000_000,
        b"\xff\xfe",
        "é".encode(),
        b"a\r\n b",
        b"a\r\nSet-Cookie: a=b",
        b"a\nb",
        b"a\rb",
    ),
    *(
        b"a\x00b",
        b"%00",
        b"%0d%0aSet-Cookie:%20a=b",
        b"<script>alert(1)</script>",
        b"../../etc/passwd",
        b"${jndi:ldap://x}",
        b"{{7*7}}",
    ),
    *(
        b"' or 1=1 --",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"[::1",
        b"[",
        b"a:99999",
        b"a:b",
        b"evil.example",
        b"127.0.0.1:8265",
        b"a b",
        b"NaN",
        b"-1",
    ),
    *(
        b"1e999",
        b"0",
        b"?1",
        b"https",
        b"javascript:alert(1)",
        b"\x1b[31m",
        b"*/*;q=" + b"9" * 400,
        b"," * 5000,
        b"de;q=nan",
        b"\xc2\x85",
    ),
)
_NAMES = (
    *(
        b"X-Request-Id",
        b"X-Request-ID",
        b"Host",
        b"X-Forwarded-Host",
        b"X-Forwarded-For",
        b"X-Forwarded-Proto",
        b"Forwarded",
        b"Cookie",
    ),
    *(
        b"Accept",
        b"Accept-Language",
        b"Accept-Encoding",
        b"Content-Type",
        b"Content-Encoding",
        b"Expect",
        b"Range",
        b"Upgrade",
        b"Connection",
    ),
    *(
        b"X-Original-URL",
        b"X-Rewrite-URL",
        b"X-HTTP-Method-Override",
        b"Origin",
        b"Referer",
        b"If-None-Match",
        b"TE",
        b"Trailer",
        b"Via",
    ),
    *(
        b"X-Request-Timeout-Seconds",
        b"X-Request-Disconnect-Disabled",
        b"serve_multiplexed_model_id",
        b"X-Session-Id",
        b"traceparent",
    ),
    *(
        b"X-Melanoma-Key",
        b"Max-Forwards",
        b"Keep-Alive",
        b"User-Agent",
        b"Content-Length",
        b"Transfer-Encoding",
        b"a\x00b",
        b"",
        b"A B",
        b"\xff",
    ),
)
_AGES = (
    *(
        b"NaN",
        b"nan",
        b"inf",
        b"-inf",
        b"-1",
        b"1e400",
        b"-0",
        b"130.0001",
        b"131",
        b"",
        b" ",
        b"1,2",
        b"[1]",
        b"0x10",
        b"1_0",
        b"9" * 5000,
    ),
    *(
        b"%00",
        b"%ff",
        b"%d9%a1",
        b"1&age=2",
        b"true",
        b"null",
        b"{}",
        b"%F0%9F%94%AC",
        b"1%0a",
        b"+5",
        b"1e1",
        b"'1'",
        b"%ED%A0%80",
        b"71",
    ),
)
_WORDS = (
    *(
        b"unknown",
        b"MALE",
        b"male",
        b"",
        b"%00",
        b"elbow",
        b"torso",
        b"torso&site=elbow",
        b"[]",
        b"%ff%fe",
        b"a" * 5000,
        b"%ED%A0%80",
    ),
    *(
        b"melanoma",
        b"plague",
        b"BCC",
        b"%F0%9F%94%AC",
        b"..%2f",
        b"%0d%0aX:%20y",
        b"<script>",
        b"None",
        b"0",
        b"-1",
        b"1e400",
    ),
)


def draw_framing_attack(maker: Maker) -> Attack:
    """Return a request whose length is told wrongly, twice or in two ways, without a credential of its own."""
    rng = maker.rng
    name = rng.choice(
        ("length", "two lengths", "chunks", "length and chunks", "another request in the body", "pipelined")
    )
    headers: Headers = []
    body, length = rng.choice((b"hello", encoded("PNG"), _SMUGGLED)), None
    if name == "length":
        length = rng.choice(_LENGTHS)
    elif name == "two lengths":
        headers = [(b"Content-Length", rng.choice(_LENGTHS))] * rng.choice((1, 20))
    elif name == "chunks":
        headers, length, body = [(b"Transfer-Encoding", rng.choice(_CODINGS))], b"", rng.choice(_CHUNKS)
    elif name == "length and chunks":
        coding = (
            rng.choice((b"Transfer-Encoding", b"Transfer-Encoding ", b" Transfer-Encoding", b"transfer_encoding")),
            rng.choice(_CODINGS),
        )
        headers, body = [coding] * rng.choice((1, 2)), rng.choice(_CHUNKS) + rng.choice((b"", _SMUGGLED))
        length = rng.choice((str(len(body)).encode(), b"4", b"0"))
    elif name == "another request in the body":
        length, body = rng.choice((b"0", b"3", b"5")), b"hello" + _SMUGGLED * 3
    else:
        body = encoded("PNG")
    shown = rng.choice((b"", b"", b"Bearer mray_000000000000_" + b"a" * 43))
    content = maker.request(headers=headers, body=body, length=length, authorization=shown)
    if name in {"another request in the body", "pipelined"}:
        content = content.replace(b"Connection: close\r\n", b"", 1) + _SMUGGLED * 3 + _LAST_SMUGGLED
    return maker.attack("framing", name, content)


def draw_path_attack(maker: Maker) -> Attack:
    """Return a request for a path, by a method or in a version of HTTP, that doesn't exist; without a credential."""
    rng = maker.rng
    method, version = (
        rng.choices((b"GET", b"POST", rng.choice(_METHODS)), (3, 2, 3))[0],
        rng.choices((b"HTTP/1.1", rng.choice(_VERSIONS)), (4, 1))[0],
    )
    target = rng.choice(_PATHS)
    headers = [(b"Host", b"triage.example"), (b"Connection", b"close"), (b"X-Request-Id", maker.request_id.encode())]
    if method == b"POST":
        headers.append((b"Content-Length", b"1"))
    body = b"x" if method == b"POST" else b""
    return maker.attack(
        "path", _show(method + b" " + target), assemble(method + b" " + target + b" " + version, headers, body)
    )


def draw_header_attack(maker: Maker) -> Attack:
    """Return a good request with a hostile header or several."""
    rng = maker.rng
    headers = [(rng.choice(_NAMES), rng.choice(_VALUES)) for _ in range(rng.choices((1, 2, 5, 150), (6, 3, 2, 0.2))[0])]
    target, method = rng.choice((*OPERATIONS, b"/v1/model", b"/", b"/docs", b"/healthz")), b"GET"
    body = b""
    if target in OPERATIONS:
        method, body = b"POST", encoded("PNG")
    shown = rng.choice((None, None, b""))
    content = maker.request(method, target, headers, body, authorization=shown)
    changes_id = any(name.lower() == b"x-request-id" or b"\n" in value for name, value in headers)
    name = ", ".join(f"{_show(name)}: {_show(value)}" for name, value in headers[:3])
    return Attack(
        kind="header",
        name=name,
        pieces=(content,),
        may_answer=shown is None,
        request_id=None if changes_id else maker.request_id,
    )


def draw_query_attack(maker: Maker) -> Attack:
    """Return a good image with a patient that can't be."""
    rng = maker.rng
    given = {b"age": _AGES, b"sex": _WORDS, b"site": _WORDS, b"diagnosis": _WORDS, b"language": _WORDS, b"age[]": _AGES}
    names = rng.sample(list(given), rng.choice((1, 1, 2, 6)))
    query = b"&".join(name + b"=" + rng.choice(given[name]) for name in names)
    target = rng.choices((*OPERATIONS, b"/"), (4, 2, 1, 1))[0]
    method, body = (b"GET", b"") if target == b"/" else (b"POST", encoded("PNG"))
    return maker.attack("query", _show(query), maker.request(method, target + b"?" + query, [], body), may_answer=True)


def _show(text: bytes) -> str:
    return quote(text[:60], safe=" /:?=&%.*")


def draw_slow_attack(maker: Maker) -> Attack:
    """Return a request that is sent a byte at a time, or in part and never ended, with a valid key."""
    rng = maker.rng
    name = rng.choice(
        (
            "headers",
            "body",
            "body in chunks",
            "half a body",
            "hangs up in the headers",
            "hangs up in the body",
            "hangs up at the end",
        )
    )
    whole = maker.request(body=encoded("PNG"))
    head, body = whole[: whole.index(b"\r\n\r\n") + 4], encoded("PNG")
    if name == "headers":
        pieces = tuple(whole[:150][place : place + 1] for place in range(150))
    elif name == "body":
        pieces = (head, *(body[place : place + 1] for place in range(150)))
    elif name == "body in chunks":
        chunked = maker.request(headers=[(b"Transfer-Encoding", b"chunked")], length=b"")
        pieces = (chunked, *(b"1\r\na\r\n",) * 150)
    elif name == "half a body":
        pieces = (head, body[: rng.randrange(len(body))])
    else:
        cut = {"hangs up in the headers": rng.randrange(1, len(head)), "hangs up in the body": len(head) + 9}
        pieces = (whole[: cut.get(name, len(whole))],)
    hangs_up = name.startswith("hangs up")
    pause_s = rng.choice((0.0, 0.02, 0.2)) if hangs_up else 0.2
    return Attack(
        kind="slow",
        name=name,
        pieces=pieces,
        pause_s=pause_s,
        may_answer=True,
        request_id=maker.request_id,
        hangs_up=hangs_up,
    )
