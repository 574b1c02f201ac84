"""The process of one environment: it imports a handler and calls it for every event that comes over a socket.

It is run as a script, `python -P runtime.py <module> <socket> <lifeline>`, and imports the standard library only, so
that nothing of the gateway is importable, or already imported, in a function's process. The last two arguments are
inherited file descriptors; the lifeline is a pipe that ends when the gateway does.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

REQUEST = struct.Struct(">IQ")
"""Before each event: its bytes, and the deadline in milliseconds since the epoch."""

REPLY = struct.Struct(">cI")
"""Before each reply: its kind, and its bytes."""

READY, RESULT, RAISED = b"I", b"R", b"E"
"""The kinds of reply: the handler is imported; it returned, and this is the result as JSON; it raised."""

Handler = Callable[[Any, Any], Any]


class Context:
    """What Lambda's Python runtime hands to a handler besides the event."""

    client_context = None
    identity = None

    def __init__(self, request_id: str, deadline_ms: int) -> None:
        self.aws_request_id = request_id
        self.function_name = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
        self.function_version = os.environ["AWS_LAMBDA_FUNCTION_VERSION"]
        self.memory_limit_in_mb = os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]  # text, as in Lambda
        self.log_group_name = os.environ["AWS_LAMBDA_LOG_GROUP_NAME"]
        self.log_stream_name = os.environ["AWS_LAMBDA_LOG_STREAM_NAME"]
        self.invoked_function_arn = (
            f"arn:aws:lambda:{os.environ['AWS_REGION']}:000000000000:function:{self.function_name}"
        )
        self._deadline_ms = deadline_ms

    def get_remaining_time_in_millis(self) -> int:
        """Milliseconds until the process is killed; 0 when they are over."""
        return max(self._deadline_ms - int(time.time() * 1000), 0)


def main(module: str, connection: socket.socket, lifeline: int) -> None:
    """Serve until the gateway closes the connection. What fails at import ends the process with its traceback."""
    for descriptor in (connection.fileno(), lifeline):
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with_the_gateway, args=(lifeline,), daemon=True).start()
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    handler = importlib.import_module(module).handler
    connection.sendall(REPLY.pack(READY, 0))
    _serve(handler, connection)
    _end()


def _serve(handler: Handler, connection: socket.socket) -> None:
    events = connection.makefile("rb")
    while head := events.read(REQUEST.size):
        length, deadline_ms = REQUEST.unpack(head)
        event = json.loads(events.read(length))
        kind, body = _invoke(handler, event, Context(event["requestContext"]["requestId"], deadline_ms))
        connection.sendall(REPLY.pack(kind, len(body)) + body)


def _invoke(handler: Handler, event: Any, context: Context) -> tuple[bytes, bytes]:
    try:
        return RESULT, json.dumps(handler(event, context), ensure_ascii=False).encode()
    except Exception:  # noqa: BLE001 (like Lambda's runtime: only what is no Exception ends the process)
        sys.stderr.write(traceback.format_exc())
        return RAISED, b""
    finally:
        sys.stdout.flush()


def _end_with_the_gateway(lifeline: int) -> None:
    # Signals are for the main thread: one that landed here would not interrupt what the handler waits for.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    os.read(lifeline, 1)
    _end()


def _end() -> None:
    """End this process and all that the handler started: the gateway made it the leader of a group."""
    os.killpg(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1], socket.socket(fileno=int(sys.argv[2])), int(sys.argv[3]))
