"""Real servers on loopback: HTTP that follows a script, mail with TLS, and a FHIR server that checks resources."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from typing import Any
from urllib.parse import parse_qs

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from flask import Flask, request
from werkzeug.serving import make_server


class Receiver:
    """What an HTTP server got, and what it is to answer."""

    def __init__(self) -> None:
        self.script: list[int | str] = []
        """What the next requests get: a status, ``hang`` or ``drop``; when it is used up, ``otherwise``."""
        self.otherwise: int | str = 200
        self.headers: dict[str, str] = {}
        """Headers of each answer."""
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.url = ""
        self.is_over = threading.Event()

    def next_answer(self) -> int | str:
        return self.script.pop(0) if self.script else self.otherwise


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.receiver.requests.append(({name.lower(): value for name, value in self.headers.items()}, body))
        answer = self.receiver.next_answer()
        if answer == "hang":
            self.receiver.is_over.wait(60)
        if isinstance(answer, str):
            self.close_connection = True
            return
        self.send_response(answer)
        for name, value in self.receiver.headers.items():
            self.send_header(name, value)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A client that refuses the certificate is what some tests are about."""


@contextmanager
def serve_http(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    receiver = Receiver()
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    receiver.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/alerts"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()


class Mailbox:
    """What a mail server got, and what it is to answer."""

    def __init__(self) -> None:
        self.mails: list[bytes] = []
        self.refused: dict[str, str] = {}
        """Reply to a recipient."""
        self.script: list[str] = []
        """Replies to the next mails' data; when used up, they are accepted."""
        self.port = 0

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refused:
            return self.refused[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.script:
            return self.script.pop(0)
        assert isinstance(envelope.content, bytes)
        self.mails.append(envelope.content)
        return "250 OK"

    def authenticate(self, *call: object) -> AuthResult:
        """Answer aiosmtpd's server, session, envelope, mechanism and data."""
        data = call[-1]
        is_right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"alerts", b"right")
        return AuthResult(success=is_right, handled=False)


@contextmanager
def serve_mail(
    tls: ssl.SSLContext | None, *, needs_login: bool = False, from_the_start: bool = False
) -> Iterator[Mailbox]:
    mailbox = Mailbox()
    controller = Controller(
        mailbox,
        hostname="127.0.0.1",
        port=0,
        ssl_context=tls if from_the_start else None,
        tls_context=None if from_the_start else tls,
        require_starttls=tls is not None and not from_the_start,
        auth_required=needs_login,
        authenticator=mailbox.authenticate,
    )
    controller.port = free_port()
    controller.start()
    mailbox.port = controller.port
    try:
        yield mailbox
    finally:
        controller.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class FhirStore:
    """The resources of a FHIR server, each checked by fhir.resources."""

    def __init__(self) -> None:
        self.resources: dict[str, dict[str, Any]] = {}
        """By type and id, such as Observation/3."""
        self.num_transactions = 0
        self.version = "4.0.1"
        self.url = ""

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        return [one for name, one in self.resources.items() if name.startswith(kind + "/")]

    def transact(self, bundle: dict[str, Any]) -> dict[str, Any]:
        """Do all of a transaction; references to its full URLs become those of the resources."""
        self.num_transactions += 1
        named = [(entry, *self._place(entry["request"])) for entry in bundle["entry"]]
        addresses = {entry["fullUrl"]: name for entry, name, _ in named}
        for entry, name, is_there in named:
            if not is_there:
                resource = resolve(entry["resource"], addresses)
                self.resources[name] = validate(resource) | {"id": name.split("/")[1]}
        answers = [{"response": {"status": "200 OK" if is_there else "201 Created"}} for _, _, is_there in named]
        return {"resourceType": "Bundle", "type": "transaction-response", "entry": answers}

    def _place(self, asked: dict[str, str]) -> tuple[str, bool]:
        """Return the name of a resource that is to be created, and whether it needn't be, because it is there."""
        if asked["method"] == "PUT":
            return asked["url"], False
        system, _, value = parse_qs(asked["ifNoneExist"])["identifier"][0].partition("|")
        for name, one in self.resources.items():
            if name.startswith(asked["url"] + "/") and {"system": system, "value": value} in one["identifier"]:
                return name, True
        self.resources[f"{asked['url']}/{len(self.resources) + 1}"] = {"identifier": []}  # its place is taken
        return f"{asked['url']}/{len(self.resources)}", False


def validate(resource: dict[str, Any]) -> dict[str, Any]:
    """Return a resource as fhir.resources understands it; raises if it isn't valid.

    R4B stands for R4: these five resources are the same in both, but for R4B's further types of a few references.
    """
    kind = resource["resourceType"]
    model = getattr(import_module(f"fhir.resources.R4B.{kind.lower()}"), kind)
    found: dict[str, Any] = model.model_validate(resource).model_dump(mode="json")
    return found


def resolve(value: Any, addresses: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON
    """Return JSON with the references inside a transaction replaced; one that leads nowhere is an error."""
    if isinstance(value, list):
        return [resolve(one, addresses) for one in value]
    if not isinstance(value, dict):
        return value
    reference = value.get("reference")
    return {name: resolve(one, addresses) for name, one in value.items()} | (
        {"reference": addresses[reference]} if reference is not None else {}
    )


@contextmanager
def serve_fhir(token: str) -> Iterator[FhirStore]:
    store, app = FhirStore(), Flask("fhir")

    @app.post("/fhir")
    def transaction() -> tuple[dict[str, Any], int]:
        if request.headers.get("authorization") != f"Bearer {token}":
            return {"resourceType": "OperationOutcome"}, 401
        bundle = request.get_json(force=True)
        validate(bundle)
        return store.transact(bundle), 200

    @app.get("/fhir/metadata")
    def metadata() -> dict[str, Any]:
        return {"resourceType": "CapabilityStatement", "fhirVersion": store.version}

    server = make_server("127.0.0.1", 0, app, threaded=False)
    store.url = f"http://127.0.0.1:{server.server_port}/fhir"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
