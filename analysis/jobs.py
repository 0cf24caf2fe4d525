"""One file on its way through an analysis: what is asked about it, and what came of each call."""

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
    """One question that is about to be asked: its row is written already.

    Attributes:
        request: the question.
        row: the record, *started*.
        most: US dollars that it can cost; None where no price is known.
    """

    request: Request
    row: Analysis
    most: Decimal | None


@dataclass(slots=True)
class CallResult:
    """What became of a call: an answer or an error, and how many seconds it took."""

    call: Call
    answer: Answer | None = None
    error: MediaError | None = None
    seconds: float = 0.0


@dataclass(slots=True)
class Job:
    """One file in hand.

    Attributes:
        source: the original's row.
        picture: what is sent.
        delivery: how.
        calls: what has to be asked.
        reused: what was answered before.
        was_known: whether this file had an answer of the provider already.
    """

    source: MediaFile
    picture: Picture
    delivery: Delivery
    calls: list[Call] = field(default_factory=list)
    reused: list[Analysis] = field(default_factory=list)
    was_known: bool = False


@dataclass(frozen=True, slots=True)
class Analysed:
    """What became of one file.

    Attributes:
        outcome: the contract's word: ``created``, ``replaced``, ``reused`` or ``failed``.
        analyses: the rows, those that were reused among them.
        error: the first that came up.
        is_partial: whether calls are left to be made, because the process is stopping.
    """

    outcome: Outcome
    analyses: list[Analysis]
    error: MediaError | None = None
    is_partial: bool = False
