"""An S3 server over https that stores request bodies literally: it does not support AWS chunked trailers."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Change = Callable[[bytes], bytes]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def as_sent(body: bytes) -> bytes:
    return body


def md5_of_stored(body: bytes, stored: bytes) -> str:
    return md5(stored)


@dataclass
class LiteralS3:
    """A running server.

    Attributes:
        endpoint: its https address.
        certificate: the certificate that a client must trust.
        objects: the stored bytes by path, bucket included.
        methods: the methods of all requests, in order.
        store: transforms a received body into the bytes to store.
        etag: returns the ETag for (body received, bytes stored).
    """

    endpoint: str = ""
    certificate: Path = Path()
    objects: dict[str, bytes] = field(default_factory=dict)
    etags: dict[str, str] = field(default_factory=dict)
    methods: list[str] = field(default_factory=list)
    store: Change = as_sent
    etag: Callable[[bytes, bytes], str] = md5_of_stored

    def options(self, prefix: str = "") -> dict[str, Any]:
        """Return the OPTIONS for a BucketStorage on this server."""
        return {
            "bucket_name": "library",
            "location": prefix,
            "region_name": "us-east-1",
            "endpoint_url": self.endpoint,
            "access_key": "key",
            "secret_key": "secret",
            "verify": str(self.certificate),
        }

    def environment(self, alias: str) -> dict[str, str]:
        """Return the environment variables that put the storage `alias` on this server."""
        name = f"NOVAPROXY_{alias.upper()}"
        return {
            f"{name}_BUCKET": "library",
            f"{name}_PREFIX": alias,
            f"{name}_REGION": "us-east-1",
            f"{name}_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_CA_BUNDLE": str(self.certificate),
        }


@contextmanager
def literal_s3(folder: Path) -> Iterator[LiteralS3]:
    """Run the server until the block ends. Creates its certificate in `folder`."""
    s3 = LiteralS3(certificate=folder / "certificate.pem")
    key = folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"),
            *("-keyout", key, "-out", s3.certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(s3.certificate, key)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(s3))
    server.daemon_threads = True
    server.socket = context.wrap_socket(server.socket, server_side=True)
    s3.endpoint = f"https://localhost:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield s3
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(s3: LiteralS3) -> type[BaseHTTPRequestHandler]:
    return type("Handler", (_Handler,), {"s3": s3})


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s3: LiteralS3

    def do_PUT(self) -> None:
        body = self._body()
        stored = self.s3.store(body)
        self.s3.objects[self.path], self.s3.etags[self.path] = stored, self.s3.etag(body, stored)
        self._answer(200, {"ETag": f'"{self.s3.etags[self.path]}"'})

    def do_GET(self) -> None:
        if self.path in self.s3.objects:
            self._answer(200, {"ETag": f'"{self.s3.etags[self.path]}"'}, self.s3.objects[self.path])
        else:
            self._answer(404, {})

    do_HEAD = do_GET  # noqa: N815 (the base class looks for this name)

    def do_DELETE(self) -> None:
        self.s3.objects.pop(self.path, None)
        self._answer(204, {})

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline().strip(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.s3.methods.append(self.command)
        self.send_response_only(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""
