"""Data classes for the analysis of one file: its calls and their results."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal

from analysis.models import Analysis
from analysis.payload import Delivery, Picture
from analysis.providers.base import Answer, Request
from media_files.errors import MediaError
from media_files.models import MediaFile
from proxies.outcomes import Outcome


@dataclass(slots=True)
class Call:
    """One call that is about to be made; its row is already written.

    Attributes:
        request: the question.
        row: the record, with status *started*.
        most: maximum cost in US dollars; None if the price is unknown.
    """

    request: Request
    row: Analysis
    most: Decimal | None


@dataclass(slots=True)
class CallResult:
    """The result of a call: an answer or an error, and its duration in seconds."""

    call: Call
    answer: Answer | None = None
    error: MediaError | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Job:
    """One file being analysed.

    Attributes:
        source: the original's row.
        picture: the file to send.
        delivery: how to send it.
        calls: the calls to make.
        reused: existing answers.
        was_known: whether this file already had an answer from the provider.
    """

    source: MediaFile
    picture: Picture
    delivery: Delivery
    calls: list[Call] = field(default_factory=list)
    reused: list[Analysis] = field(default_factory=list)
    was_known: bool = False


@dataclass(frozen=True, slots=True)
class Analysed:
    """The result for one file.

    Attributes:
        outcome: ``created``, ``replaced``, ``reused`` or ``failed``.
        analyses: the rows, including reused ones.
        error: the first error.
        is_partial: whether calls remain because the process is stopping.
    """

    outcome: Outcome
    analyses: list[Analysis]
    error: MediaError | None = None
    is_partial: bool = False
