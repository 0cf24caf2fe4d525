"""A server between our code and the S3 server, that counts requests, slows them down, and breaks them."""

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
    """A request as it came over the wire."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the relay answers in the server's stead: a status with a body, or a body broken off.

    Attributes:
        status: the HTTP status.
        body: what is really sent.
        length: the Content-Length that is announced; longer than the body breaks the answer off.
    """

    status: int
    body: bytes = b""
    length: int | None = None


@dataclass
class Relay:
    """A running relay.

    Attributes:
        endpoint: where clients send their requests.
        requests: those that came, in order; a test may clear the list.
        delay: seconds that each request waits before it is passed on.
        fault: looks at each request and answers it, or returns None to have it passed on.
    """

    endpoint: str
    requests: list[Request] = field(default_factory=list)
    delay: float = 0.0
    fault: Callable[[Request], Answer | None] | None = None

    @property
    def methods(self) -> list[str]:
        """Return the methods of the requests that came, in order."""
        return [request.method for request in self.requests]

    @staticmethod
    def answer(status: int, body: bytes = b"", *, length: int | None = None) -> Answer:
        """Return what a fault may answer."""
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
            # A client that takes the relay for its HTTP proxy names the whole address.
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
            # Also after a whole answer: a fault never leaves a connection behind for the next request.
            self.close_connection = True

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815 (so the base class finds them)

        def _pass_on(self, body: bytes) -> None:
            connection = http.client.HTTPConnection(target)
            try:
                # The signature covers Host, so the client's own goes on unchanged.
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
            """Say nothing."""

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
