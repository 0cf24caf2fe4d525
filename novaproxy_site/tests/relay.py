"""A server between our code and the S3 server that counts requests, delays them, and breaks them."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """A request as received."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response that the relay sends instead of the server's: a status with a complete or truncated body.

    Attributes:
        status: the HTTP status.
        body: the bytes actually sent.
        length: the Content-Length header; a value above the body's size truncates the response.
    """

    status: int
    body: bytes = b""
    length: int | None = None


@dataclass
class Relay:
    """A running relay.

    Attributes:
        endpoint: where clients send their requests.
        requests: the requests received, in order; a test may clear the list.
        delay: seconds to wait before forwarding each request.
        fault: returns an answer to a request, or None to forward it.
    """

    endpoint: str
    requests: list[Request] = field(default_factory=list)
    delay: float = 0.0
    fault: Callable[[Request], Answer | None] | None = None

    @property
    def methods(self) -> list[str]:
        """Return the methods of the received requests, in order."""
        return [request.method for request in self.requests]

    @staticmethod
    def answer(status: int, body: bytes = b"", *, length: int | None = None) -> Answer:
        """Return an answer for a fault to return."""
        return Answer(status, body, length)


@contextmanager
def relay_to(endpoint: str) -> Iterator[Relay]:
    """Run a relay in front of `endpoint` until the block ends."""
    target = urlsplit(endpoint).netloc
    relay = Relay(endpoint="")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            # A client that uses the relay as an HTTP proxy sends the full URL.
            self.path = self.path.removeprefix(f"http://{self.headers.get('Host', '')}")
            request = Request(self.command, self.path, dict(self.headers))
            relay.requests.append(request)
            time.sleep(relay.delay)
            answer = relay.fault(request) if relay.fault else None
            if answer is None:
                self._pass_on(body)
                return
            length = len(answer.body) if answer.length is None else answer.length
            self._answer(answer.status, {"Content-Length": str(length)}, answer.body)
            # Even after a complete answer: the next request must not reuse a connection that had a fault.
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 (so the base class finds them)

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(target)
            try:
                # The signature covers Host, so forward the client's header unchanged.
                connection.request(self.command, self.path, body=body, headers=dict(self.headers))
                response = connection.getresponse()
                content = response.read()
                headers = {
                    name: value
                    for name, value in response.getheaders()
                    if name.lower() not in {"transfer-encoding", "connection", "content-length"}
                }
                length = response.getheader("Content-Length") if self.command == "HEAD" else str(len(content))
                self._answer(response.status, headers | {"Content-Length": length or "0"}, content)
            finally:
                connection.close()

        def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    relay.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield relay
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
