"""A process that receives webhooks: python -m tests.unit.alerts.receiver PORT FILE; 2xx: the disk has the message."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.alerts.samples import SECRET
from tests.unit.alerts.test_webhook import read_verification_code

_CHANCE = random.Random()


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
        line = json.dumps({"key": headers["webhook-id"], "alerts": ids}).encode() + b"\n"
        handle = os.open(self.file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, line)
        os.fsync(handle)
        os.close(handle)
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
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
