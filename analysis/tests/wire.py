"""Fake Bedrock Converse and Rekognition: local HTTP servers that speak the services' wire protocols to a real
client, and reject what the services reject.

They enforce the signature's region, image formats (detected from the bytes), side lengths, file sizes, the
number of images and the payload size, that S3 objects exist in the region, and that no GPS data is sent.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import random
import re
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.exceptions import ClientError
from PIL import Image

from novaproxy_site.tests.servers import S3Server, _client

_GPS_IFD = 0x8825
MODELS = {"us.amazon.nova-2-lite-v1:0", "global.amazon.nova-2-lite-v1:0", "us.amazon.nova-lite-v1:0"}


class Refused(Exception):
    """The service rejects the request: HTTP status, error type, message, and response time in seconds."""

    def __init__(self, status: int, kind: str, message: str = "No.", seconds: float = 0.0) -> None:
        super().__init__(message)
        self.status, self.kind, self.message, self.seconds = status, kind, message, seconds


@dataclass(frozen=True, slots=True)
class Raw:
    """A raw response: a status and arbitrary bytes."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Slow:
    """An answer delayed by additional seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that the service accepted.

    Attributes:
        operation: Rekognition's operation, or Bedrock's model.
        body: the parsed request body.
        content: the picture's bytes, from the request or from S3.
        by_s3: whether the service read them from S3.
        format: Pillow's format name, detected from the bytes.
        size: width and height in px.
    """

    operation: str
    body: dict[str, Any]
    content: bytes
    by_s3: bool
    format: str
    size: tuple[int, int]


Fault = Refused | Raw | Slow | None


@dataclass
class Service(ABC):
    """A running service.

    Attributes:
        name: ``bedrock-runtime`` or ``rekognition``.
        endpoint: its URL.
        region: its region; requests signed for another are rejected.
        s3: the S3 server it reads objects from.
        paid: the answered requests, which would have been billed.
        requests: number of requests received, including rejected ones.
        faults: faults for the next requests, one each; None for a normal answer.
        answer: returns the answer to a request.
        seconds: response time of each answer.
        per_second: maximum accepted requests per second; None for no limit.
        throttled: fraction of requests that are throttled at random anyway.
        most_in_flight: maximum number of simultaneous requests so far.
    """

    name: str
    answer: Callable[[Asked], Any]
    endpoint: str = ""
    region: str = "us-east-1"
    s3: S3Server | None = None
    paid: list[Asked] = field(default_factory=list)
    requests: int = 0
    faults: deque[Fault] = field(default_factory=deque)
    seconds: float = 0.0
    per_second: float | None = None
    throttled: float = 0.0
    most_in_flight: int = 0
    answered_at: list[float] = field(default_factory=list)
    _in_flight: int = 0
    _tokens: float = 0.0
    _filled_at: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _random: random.Random = field(default_factory=lambda: random.Random(7))

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables that point a real client here."""
        return {
            f"AWS_ENDPOINT_URL_{self.name.upper().replace('-', '_')}": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test-access-key",
            "AWS_SECRET_ACCESS_KEY": "test-secret-key",
            "AWS_DEFAULT_REGION": self.region,
        }

    # -- Handling a request ----------------------------------------------------------------------

    def take(self, handler: BaseHTTPRequestHandler, payload: bytes) -> Any:
        with self._lock:
            self.requests += 1
            self._in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self._in_flight)
            fault = self.faults.popleft() if self.faults else None
            self._admit()
        try:
            if isinstance(fault, Refused):
                time.sleep(fault.seconds)
                raise fault
            if isinstance(fault, Raw):
                return fault
            signed = re.search(r"Credential=[^/]+/\d{8}/([^/]+)/", handler.headers.get("Authorization", ""))
            if signed is None or signed[1] != self.region:
                raise Refused(
                    403, "InvalidSignatureException", "Credential should be scoped to a valid region."
                )
            asked = self.read(handler, payload)
            time.sleep(self.seconds + (fault.seconds if isinstance(fault, Slow) else 0))
            answer = self.answer(asked)
            with self._lock:
                self.paid.append(asked)
                self.answered_at.append(time.monotonic())
            return answer
        finally:
            with self._lock:
                self._in_flight -= 1

    @abstractmethod
    def read(self, handler: BaseHTTPRequestHandler, payload: bytes) -> Asked:
        """Parse a request, and reject it if the service would."""

    @abstractmethod
    def refuse(self, handler: BaseHTTPRequestHandler, refused: Refused) -> None:
        """Send the service's error response."""

    @abstractmethod
    def throttle(self) -> Refused:
        """Return the service's error for too many requests."""

    def _admit(self) -> None:
        """Apply a token bucket filled at the allowed rate, and random throttling, which uses no token."""
        if self.per_second is None:
            return
        now = time.monotonic()
        most = max(1.0, self.per_second / 2)
        self._tokens = min(most, self._tokens + (now - (self._filled_at or now)) * self.per_second)
        self._filled_at = now
        if self._random.random() < self.throttled or self._tokens < 1:
            self._in_flight -= 1
            raise self.throttle()
        self._tokens -= 1

    # -- The picture -----------------------------------------------------------------------------

    def from_s3(self, bucket: str, key: str, missing: Refused) -> bytes:
        if self.s3 is None or self.s3.region != self.region:
            raise missing
        try:
            found = _client(self.s3).get_object(Bucket=bucket, Key=key)["Body"].read()
        except ClientError as error:
            raise missing from error
        return bytes(found)


def decoded(content: bytes, unreadable: Refused) -> tuple[str, tuple[int, int]]:
    """Return format and size, detected from the bytes; fail if the picture has GPS data."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            assert not image.getexif().get_ifd(_GPS_IFD), "GPS data was sent"
            return str(image.format), image.size
    except OSError as error:
        raise unreadable from error


class Bedrock(Service):
    """A fake Converse API."""

    def read(self, handler: BaseHTTPRequestHandler, payload: bytes) -> Asked:
        path = re.fullmatch(r"/model/([^/]+)/converse", urlsplit(handler.path).path)
        if path is None:
            raise Refused(404, "UnknownOperationException")
        model = unquote(path[1])
        if model not in MODELS:
            raise Refused(400, "ValidationException", "The provided model identifier is invalid.")
        if len(payload) > 25 * 1024 * 1024:
            raise _invalid("The request is larger than 25 MB.")
        body = json.loads(payload)
        self._check_parameters(body)
        blocks = [block for message in body["messages"] for block in message["content"]]
        images = [block["image"] for block in blocks if "image" in block]
        if not 1 <= len(images) <= 5:
            raise _invalid(f"{len(images)} images were sent.")
        image = images[0]
        source = image["source"]
        by_s3 = "s3Location" in source
        if by_s3:
            uri = re.fullmatch(r"s3://([a-z0-9.-]+)/(.+)", source["s3Location"]["uri"])
            gone = _invalid("The S3 object could not be read. Check that it exists in this region.")
            if uri is None or len(source["s3Location"]["uri"]) > 1024:
                raise gone
            content = self.from_s3(uri[1], uri[2], gone)
        else:
            try:
                content = base64.b64decode(source["bytes"], validate=True)
            except binascii.Error as error:
                raise _invalid("The bytes are no base64.") from error
        kind, size = decoded(content, _invalid("The image cannot be decoded."))
        if kind.lower() != image["format"] or kind not in {"JPEG", "PNG", "GIF", "WEBP"}:
            raise _invalid(f"The image is {kind}, not {image['format']}.")
        if max(size) > 8000:
            raise _invalid(f"The image has {size[0]} x {size[1]} px.")
        return Asked(model, body, content, by_s3, kind, size)

    def _check_parameters(self, body: dict[str, Any]) -> None:
        asked = body.get("inferenceConfig", {})
        fields = body.get("additionalModelRequestFields", {})
        effort = fields.get("reasoningConfig", {}).get("maxReasoningEffort")
        if effort == "high" and asked:
            raise _invalid("temperature and maxTokens cannot be set with a high effort.")
        if effort not in (None, "low", "medium", "high"):
            raise _invalid("No such effort.")
        tools = [tool["toolSpec"]["name"] for tool in body.get("toolConfig", {}).get("tools", [])]
        wanted = body.get("toolConfig", {}).get("toolChoice", {}).get("tool", {}).get("name")
        if wanted is not None and wanted not in tools:
            raise _invalid(f"There is no tool {wanted}.")

    def refuse(self, handler: BaseHTTPRequestHandler, refused: Refused) -> None:
        _write(handler, refused.status, {"message": refused.message}, {"x-amzn-ErrorType": refused.kind})

    def throttle(self) -> Refused:
        return Refused(429, "ThrottlingException", "Too many requests, please wait before trying again.")


class Rekognition(Service):
    """A fake Rekognition with all its operations on one image."""

    def read(self, handler: BaseHTTPRequestHandler, payload: bytes) -> Asked:
        operation = handler.headers["X-Amz-Target"].removeprefix("RekognitionService.")
        body = json.loads(payload)
        source = body["Image"]
        by_s3 = "S3Object" in source
        if by_s3:
            gone = Refused(
                400,
                "InvalidS3ObjectException",
                "Unable to get object metadata from S3. Check region and key.",
            )
            content = self.from_s3(source["S3Object"]["Bucket"], source["S3Object"]["Name"], gone)
        else:
            content = base64.b64decode(source["Bytes"], validate=True)
        if len(content) > (15 * 1024 * 1024 if by_s3 else 5 * 1024 * 1024):
            raise Refused(400, "ImageTooLargeException", "Image size is too large.")
        unreadable = Refused(400, "InvalidImageFormatException", "Request has invalid image format")
        kind, size = decoded(content, unreadable)
        if kind not in {"JPEG", "PNG"}:
            raise unreadable
        if min(size) < 80:
            raise Refused(
                400, "InvalidParameterException", "Request has invalid parameters: image too small."
            )
        if operation in {"DetectLabels", "DetectModerationLabels"} and max(size) > 10_000:
            raise Refused(400, "ImageTooLargeException", "Image has too many pixels.")
        return Asked(operation, body, content, by_s3, kind, size)

    def refuse(self, handler: BaseHTTPRequestHandler, refused: Refused) -> None:
        _write(handler, refused.status, {"__type": refused.kind, "Message": refused.message})

    def throttle(self) -> Refused:
        return Refused(400, "ProvisionedThroughputExceededException", "Rate exceeded")


def _invalid(message: str) -> Refused:
    return Refused(400, "ValidationException", message)


def _write(
    handler: BaseHTTPRequestHandler, status: int, body: Any, headers: dict[str, str] | None = None
) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response_only(status)
    for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


@contextmanager
def served(service: Service) -> Iterator[Service]:
    """Run a service until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            payload = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            try:
                answer = service.take(self, payload)
            except Refused as refused:
                service.refuse(self, refused)
                return
            if isinstance(answer, Raw):
                _write(self, answer.status, answer.body)
            else:
                _write(self, 200, answer)

        def handle(self) -> None:
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # the client was killed or timed out

        def log_message(self, format: str, *arguments: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    service.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield service
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
