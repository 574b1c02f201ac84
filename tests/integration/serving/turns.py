"""Counting network round trips: a wire between a client and Postgres that notes each change of direction."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from qstash_jobs.database import Database
from qstash_jobs.dispatch import new_execution
from qstash_jobs.executions import outbox
from qstash_jobs.jobs.probe import Probe
from qstash_jobs.serving import Worker
from qstash_jobs.testing import Context, signed_event


class Turns:
    """A TCP port that leads to a unix socket; `count` is how often the client spoke after the server had."""

    def __init__(self, target: str) -> None:
        self.count = 0
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server_spoke_last = True
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, and close what is open."""
        for one in (self._listener, *self._sockets):
            with suppress(OSError):  # it may have ended by itself
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in (self._listener, *self._sockets):
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            self._sockets += [client, server]
            for source, sink, from_client in ((client, server, True), (server, client, False)):
                thread = threading.Thread(target=self._pass_on, args=(source, sink, from_client))
                self._threads.append(thread)
                thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, from_client: bool) -> None:
        try:
            while data := source.recv(65536):
                with self._lock:
                    if from_client and self._server_spoke_last:
                        self.count += 1
                    self._server_spoke_last = not from_client
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return  # the other direction has closed both


@contextmanager
def wire_to(url: str) -> Iterator[tuple[Turns, str]]:
    """A wire to a database, and the DSN through it."""
    parts = urlsplit(url)
    turns = Turns(str(Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432"))
    try:
        yield turns, f"postgresql://postgres@127.0.0.1:{turns.port}{parts.path}"
    finally:
        turns.close()


def count_turns(url: str) -> int:
    """Round trips of one execution on a connection that is open already, with an empty handler."""
    with wire_to(url) as (turns, through):
        database = Database(through, timedelta(seconds=10))
        worker = Worker(Probe, lambda _payload, _run: None)
        worker.__dict__["database"] = database
        new = new_execution(Probe(), {})
        outbox.insert(database.run, [new])
        event = signed_event(Probe(), job_id=new.job_id, by_reference=True)
        before = turns.count
        answer = worker.handle(event, Context(timedelta(seconds=30)))
        assert answer["statusCode"] == 200, answer
        counted = turns.count - before
        database.close()
        return counted
