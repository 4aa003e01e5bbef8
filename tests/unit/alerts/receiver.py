"""A process that receives webhooks and mails; what it confirms is on its disk.

python -m tests.unit.alerts.receiver PORT FILE MAIL_PORT CERTIFICATE
"""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.unit.alerts.certificates import load_server_context
from tests.unit.alerts.samples import SECRET
from tests.unit.alerts.test_webhook import read_verification_code

_CHANCE = random.Random()


def write(file: str, sink: str, key: str, alerts: list[str]) -> None:
    line = json.dumps({"sink": sink, "key": key, "alerts": alerts}).encode() + b"\n"
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(handle, line)
    os.fsync(handle)
    os.close(handle)


class Mailbox:
    """Takes mails; the ids of their alerts stand at the ends of lines of the plain part."""

    def __init__(self, file: str) -> None:
        self.file = file

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        trouble = _CHANCE.random()
        if trouble < 0.1:
            return "451 try again later"
        assert isinstance(envelope.content, bytes)
        mail = message_from_bytes(envelope.content, policy=policy.default)
        assert isinstance(mail, EmailMessage)
        plain = mail.get_body(("plain",))
        assert isinstance(plain, EmailMessage)
        ids = re.findall(r"melanoma alerts acknowledge ([0-9a-f]+)", str(plain.get_content()))
        write(self.file, "mail", str(mail["Message-ID"]), ids)
        return "421 it has the mail, and says it hasn't" if trouble < 0.15 else "250 OK"


class Handler(BaseHTTPRequestHandler):
    file: str
    code: dict[str, object]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        trouble = _CHANCE.random()
        if trouble < 0.05:
            self._answer(503)
            return
        verify = self.code["verify"]
        assert callable(verify)
        if not verify(headers, body, SECRET):
            self._answer(401)
            return
        data = json.loads(body)["data"]
        ids = [alert["alert_id"] for alert in data["alerts"]]
        write(self.file, "hook", headers["webhook-id"], ids)
        if trouble < 0.08:  # it has the message, and its answer is lost
            self.close_connection = True
            return
        time.sleep(0.5 if trouble < 0.09 else 0.02)
        self._answer(200)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    Handler.file, Handler.code = sys.argv[2], {}
    exec(read_verification_code(), Handler.code)
    controller = Controller(
        Mailbox(sys.argv[2]),
        hostname="127.0.0.1",
        port=int(sys.argv[3]),
        tls_context=load_server_context(sys.argv[4]),
        require_starttls=True,
    )
    controller.start()
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
