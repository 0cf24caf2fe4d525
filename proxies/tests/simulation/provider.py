"""The simulated model service: its calls cost money, take time, and fail."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from unittest import mock

from proxies.tests.simulation.scheduler import World

MODEL = "us.amazon.nova-2-lite-v1:0"
TOKENS_IN = 120


@dataclass(frozen=True)
class Paid:
    """A call that the service has billed.

    Attributes:
        sha256: of the image that was sent.
        batch: its batch; None for a single request.
        forced: whether it was requested again although an answer existed.
        cost: US dollars.
    """

    sha256: str
    batch: int | None
    forced: bool
    cost: Decimal


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *arguments: Any, **options: Any) -> Iterator[bytes]:
        yield self._content


class Service:
    """Bedrock's Converse.

    Attributes:
        paid: the billed calls.
        asked: who requested which image.
        trouble: how often a request fails.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.dice = random.Random(f"service {seed}")
        self.paid: list[Paid] = []
        self.asked: list[tuple[str, str]] = []
        self.trouble = self.dice.choice([0.0, 0.1, 0.4])
        self.asking: dict[Any, tuple[int | None, bool]] = {}

    def send(self, request: Any) -> Any:
        """Answer one HTTP request, as botocore's session does."""
        from botocore.awsrequest import AWSResponse
        from botocore.exceptions import EndpointConnectionError

        from analysis import prices

        world = self.world
        world.point("wire", "request")
        asked = json.loads(request.body)
        content = next(block["image"] for block in asked["messages"][0]["content"] if "image" in block)
        sha256 = hashlib.sha256(base64.b64decode(content["source"]["bytes"])).hexdigest()
        assert world.current is not None
        self.asked.append((world.current.process.name.partition(".")[0], sha256))
        seconds = self.dice.choice([0.3, 1.0, 1.0, 20.0])
        kind = "good"
        if self.dice.random() < self.trouble:
            kind = self.dice.choice(["throttled", "unavailable", "unreachable", "malformed", "cut_off"])
        tokens = self.dice.choice([40, 200, 600, 1900])
        world.sleep(seconds)
        if kind == "unreachable":
            raise EndpointConnectionError(endpoint_url="simulated")
        if kind in ("throttled", "unavailable"):
            status, name = (
                (429, "ThrottlingException") if kind == "throttled" else (500, "InternalServerException")
            )
            answer: dict[str, Any] = {"message": "No."}
            headers = {"x-amzn-errortype": name}
        else:
            status, headers = 200, {}
            answer = _answer(kind, sha256, tokens)
            cost = prices.price_of_tokens(MODEL, TOKENS_IN, tokens).amount or Decimal(0)
            batch, forced = self.asking.get(world.current, (None, False))
            self.paid.append(Paid(sha256, batch, forced, cost))
            world.note("paid", f"{sha256[:8]} {cost}")
        world.sleep(0.1)
        world.point("wire", "answer")
        headers["content-type"] = "application/json"
        body = json.dumps(answer).encode()
        return AWSResponse(request.url, status, headers, _Body(body))  # type: ignore[arg-type] # as a mapping


def _answer(kind: str, sha256: str, tokens: int) -> dict[str, Any]:
    said: dict[str, Any] = {
        "caption": f"The picture {sha256[:8]}.", "labels": [{"name": "simulated"}], "text": [], "objects": [],
        "safety": [],
    }  # fmt: skip
    block: dict[str, Any] = {"toolUse": {"toolUseId": "1", "name": "record_picture", "input": said}}
    if kind == "malformed":
        block = {"text": "I would rather not."}
    return {
        "output": {"message": {"role": "assistant", "content": [block]}},
        "stopReason": "max_tokens" if kind == "cut_off" else "tool_use",
        "usage": {"inputTokens": TOKENS_IN, "outputTokens": tokens, "totalTokens": TOKENS_IN + tokens},
        "metrics": {"latencyMs": 1},
    }


_clients: dict[str, Any] = {}


@contextmanager
def service_in_place(service: Service) -> Iterator[None]:
    """Send the project's calls to ``service`` inside the block."""
    from botocore.httpsession import URLLib3Session

    from analysis.providers import aws
    from analysis.services import AnalysisService

    make, carry_out = aws._client, AnalysisService.carry_out

    def client(name: str, settings: Any, pid: int) -> Any:
        # Creating a client takes 0.1 s. Its only state is the counter of botocore's own retries, which is
        # never
        # read when there is only one try.
        if name not in _clients:
            with mock.patch.object(aws, "ATTEMPTS", 1):
                _clients[name] = getattr(make, "__wrapped__", make)(name, settings, pid)
        return _clients[name]

    def watched(self: Any, job: Any) -> Any:
        current = service.world.current
        service.asking[current] = (self.batch_id, self.force)
        try:
            return carry_out(self, job)
        finally:
            service.asking.pop(current, None)

    with (
        mock.patch.object(aws, "_client", client),
        mock.patch.object(AnalysisService, "carry_out", watched),
        mock.patch.object(URLLib3Session, "send", lambda session, request: service.send(request)),
    ):
        yield
