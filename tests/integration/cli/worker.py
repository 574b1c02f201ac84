"""The function `probe` at an address of this machine."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from functions.probe.handler import probe
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import serve
from qstash_jobs.testing import Context


def _nothing(_record: logging.LogRecord) -> bool:
    return False


@dataclass
class Worker:
    """A function at an address, as Lambda runs it: one request at a time. It notes how each was answered."""

    answers: list[int] = field(default_factory=list)

    def __enter__(self) -> Worker:
        handler, lock, answers = serve(Probe, probe), threading.Lock(), self.answers

        class Url(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                event = {
                    "headers": {name.lower(): value for name, value in self.headers.items()},
                    "body": body,
                    "isBase64Encoded": False,
                    "rawPath": self.path,
                    "rawQueryString": "",
                    "requestContext": {"domainName": self.headers["Host"], "http": {"method": "POST"}},
                }
                with lock:
                    answer = handler(event, Context(timedelta(seconds=20)))
                    answers.append(answer["statusCode"])
                self.send_response(answer["statusCode"])
                for name, value in answer["headers"].items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer["body"].encode())

            def do_DELETE(self) -> None:
                self.send_response(405)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Url)
        self._server.daemon_threads = False  # what is under way at the end is waited for: no later test hears of it
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        # Its lines would go to the terminal of whichever test was the first to make this logger.
        logging.getLogger(Probe.options.name).addFilter(_nothing)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        logging.getLogger(Probe.options.name).removeFilter(_nothing)
