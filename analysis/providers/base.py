"""What a provider is: it takes one image and one question, and answers, or fails by a named error.

Another provider is one more module beside `nova.py`, with a `Provider` that registers itself and its name in
`__init__.py`. Everything else (files, retries, records, money, doors) is the same for all.
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
    """No provider has that name."""


@dataclass(frozen=True, slots=True)
class S3Location:
    """An object that the service reads by itself.

    Attributes:
        bucket: its bucket.
        key: its whole key.
    """

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Image:
    """What is sent: upright, without a place, of a format that the provider reads.

    Attributes:
        format: Pillow's name of it.
        width: px.
        height: px.
        bytes: how many.
    """

    format: str
    width: int
    height: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Request:
    """One question.

    Attributes:
        model: who is asked; kept with the answer.
        parameters: all that decides the question and the answer, as JSON.
        version: of the code that asks; raised when it asks otherwise.
    """

    model: str
    parameters: Mapping[str, Any]
    version: int

    @property
    def request_version(self) -> str:
        """The same for the same question, and for no other."""
        canonical = json.dumps(self.parameters, sort_keys=True, ensure_ascii=False)
        return f"{self.version}-{hashlib.sha256(canonical.encode()).hexdigest()[:16]}"

    @property
    def question(self) -> str:
        """The free question; empty for the usual one."""
        return str(self.parameters.get("question", ""))


@dataclass(frozen=True, slots=True)
class Usage:
    """What the provider counted. Tokens are none where it does not count in them.

    Attributes:
        input_tokens: as it reported them.
        output_tokens: as it reported them.
        billed_input_tokens: as it bills them, by the table of prices.
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
    """What came back.

    Attributes:
        result: what it says, measured.
        raw: the service's whole answer.
        input_tokens: as reported; None where the service counts none.
        output_tokens: as reported.
        model_version: as the service names it.
    """

    result: Result
    raw: dict[str, Any] = field(default_factory=dict)
    input_tokens: int | None = None
    output_tokens: int | None = None
    model_version: str = ""


@dataclass(frozen=True, slots=True)
class Options:
    """What a caller may ask otherwise than the settings do.

    Attributes:
        question: a free question, instead of the usual one.
        features: of Rekognition; empty for those of the settings.
    """

    question: str = ""
    features: tuple[str, ...] = ()


class Provider(ABC):
    """One service that looks at pictures.

    Attributes:
        name: in URLs, in the ledger, in rows.
        label: for people.
        service: boto3's name of it.
        shortest_side: px; what is smaller is planned as failed, as `check` refuses it.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    service: ClassVar[str]
    shortest_side: ClassVar[int] = 1

    @abstractmethod
    def requests(self, options: Options) -> list[Request]:
        """What is asked of each image; each answer is a record of its own.

        Raises:
            NotConfigured: the settings do not allow what is wished.
            ValueError: there is no such wish here.
        """

    @abstractmethod
    def check(self, image: Image, *, embedded: bool) -> None:
        """Refuse what the service would refuse, before a call is paid for.

        Raises:
            UnsupportedFormat, ImageTooLarge, ImageTooSmall, FileTooLarge: with the limit and the remedy.
        """

    @abstractmethod
    def ask(self, request: Request, image: Image, content: bytes | S3Location) -> Answer:
        """One call. Runs in a thread: touches no database.

        Raises:
            ProviderError: it says whether to try again.
        """

    def read(self, raw: Mapping[str, Any], *, model: str, question: str) -> Result:
        """Read a kept raw answer again. No call is made.

        Args:
            raw: as `ask` returned it.
            model: whose answer it is.
            question: the free question; empty for the usual one.

        Raises:
            ProviderError: it cannot be read.
        """
        raise MalformedOutput(f"{self.label} cannot read kept answers again.")

    @abstractmethod
    def usage(self, request: Request, image: Image, tokens_in: int | None, tokens_out: int | None) -> Usage:
        """What was used, as reported and as billed."""

    @abstractmethod
    def price(self, request: Request, usage: Usage) -> Price:
        """What that costs."""

    @abstractmethod
    def expected(self, request: Request, image: Image, *, answer_tokens: int | None) -> Usage:
        """What a call will use; ``answer_tokens`` is learned from earlier answers, None for none."""

    @abstractmethod
    def most_answer_tokens(self, request: Request) -> int | None:
        """The longest answer; None where answers have no price."""


_registered: dict[str, Provider] = {}


def register(provider: Provider) -> None:
    """Make a provider known to every door."""
    _registered[provider.name] = provider


def get(name: str) -> Provider:
    """The provider of that name.

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
    """All providers' names, sorted."""
    return sorted(_registered)
