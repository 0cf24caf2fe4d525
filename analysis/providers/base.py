"""The provider interface: it takes one image and one question, and returns an answer or raises a named error.

To add a provider, add a module next to `nova.py` with a `Provider` that registers itself, and import it in
`__init__.py`. Everything else (files, retries, records, costs, admin, API and commands) is shared.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from analysis.errors import MalformedOutput
from analysis.prices import Price
from analysis.results import Result


class UnknownProvider(LookupError):
    """There is no provider with that name."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """An S3 object for the service to read.

    Attributes:
        bucket: bucket name.
        key: full key.
    """

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Image:
    """The image to send: upright, without GPS data, in a format that the provider reads.

    Attributes:
        format: Pillow's format name.
        width: px.
        height: px.
        bytes: size in bytes.
    """

    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    Attributes:
        model: the model to call; stored with the answer.
        parameters: everything that affects the question and the answer, JSON-compatible.
        version: version of the prompt code; increased when the question changes.
    """

    model: str
    parameters: Mapping[str, Any]
    version: int

    @property
    def request_version(self) -> str:
        """Return an identifier of the question: equal for equal questions only."""
        canonical = json.dumps(self.parameters, sort_keys=True, ensure_ascii=False)
        return f"{self.version}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"

    @property
    def question(self) -> str:
        """Return the free question; empty for the default one."""
        return str(self.parameters.get("question", ""))


@dataclass(frozen=True, slots=True)
class Usage:
    """The usage of a call. Token counts are None if the provider does not count tokens.

    Attributes:
        input_tokens: as reported.
        output_tokens: as reported.
        billed_input_tokens: as billed according to the price table.
        images: billed images.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    billed_input_tokens: int | None = None
    images: int = 1

    def as_json(self) -> dict[str, Any]:
        if self.input_tokens is None:
            return {"images": self.images}
        return {
            "reported": {"input_tokens": self.input_tokens, "output_tokens": self.output_tokens},
            "billed": {"input_tokens": self.billed_input_tokens, "output_tokens": self.output_tokens},
            "images": self.images,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """A provider's answer.

    Attributes:
        result: the parsed answer.
        raw: the service's complete answer.
        input_tokens: as reported; None if the service does not count tokens.
        output_tokens: as reported; None if the service does not count tokens.
        model_version: as named by the service.
    """

    result: Result
    raw: dict[str, Any] = field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """A caller's overrides of the settings.

    Attributes:
        question: a free question instead of the default one.
        features: Rekognition features; empty for those in the settings.
    """

    question: str = ""
    features: tuple[str, ...] = ()


class Provider(ABC):
    """A vision service.

    Attributes:
        name: identifier in URLs, batches and rows.
        label: display name.
        service: boto3's service name.
        shortest_side: px; previews count smaller files as failed, because `check` rejects them.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    service: ClassVar[str]
    shortest_side: ClassVar[int] = 1

    @abstractmethod
    def requests(self, options: Options) -> list[Request]:
        """Return the requests for each image; each answer is a separate record.

        Raises:
            NotConfigured: the settings do not allow the options.
            ValueError: the provider does not support the options.
        """

    @abstractmethod
    def check(self, image: Image, *, embedded: bool) -> None:
        """Reject an image that the service would reject, before a call is paid for.

        Raises:
            UnsupportedFormat, ImageTooLarge, ImageTooSmall, FileTooLarge: with the limit and the remedy.
        """

    @abstractmethod
    def ask(self, request: Request, image: Image, content: bytes | S3Location) -> Answer:
        """Make one call. Runs in a thread, so it must not use the database.

        Raises:
            ProviderError: the call failed; ``transient`` decides whether to retry.
        """

    def read(self, raw: Mapping[str, Any], *, model: str, question: str) -> Result:
        """Parse a stored raw answer again, without a call.

        Args:
            raw: as returned by `ask`.
            model: the model that gave the answer.
            question: the free question; empty for the default one.

        Raises:
            ProviderError: it cannot be parsed.
        """
        raise MalformedOutput(f"{self.label} cannot read kept answers again.")

    @abstractmethod
    def usage(self, request: Request, image: Image, tokens_in: int | None, tokens_out: int | None) -> Usage:
        """Return the usage of a call, as reported and as billed."""

    @abstractmethod
    def price(self, request: Request, usage: Usage) -> Price:
        """Return the price of a call with this usage."""

    @abstractmethod
    def expected(self, request: Request, image: Image, *, answer_tokens: int | None) -> Usage:
        """Return the expected usage; ``answer_tokens`` is the mean of earlier answers, None if unknown."""

    @abstractmethod
    def most_answer_tokens(self, request: Request) -> int | None:
        """Return the maximum tokens of an answer; None if the price does not depend on them."""


_registered: dict[str, Provider] = {}


def register(provider: Provider) -> None:
    """Make a provider available in the admin, the API and the commands."""
    _registered[provider.name] = provider


def get(name: str) -> Provider:
    """Return the provider with that name.

    Raises:
        UnknownProvider: there is none.
    """
    try:
        return _registered[name]
    except KeyError:
        raise UnknownProvider(
            f"There is no provider {name!r}. Known are: {', '.join(sorted(_registered))}."
        ) from None


def names() -> list[str]:
    """Return the names of all providers, sorted."""
    return sorted(_registered)
