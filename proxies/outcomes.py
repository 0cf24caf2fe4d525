"""The words of the ledger, which every door shows as they are."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """What became of a file; in a plan, what would."""

    CREATED = "created"
    REPLACED = "replaced"
    REUSED = "reused"
    SKIPPED = "skipped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


NEEDS_WORK = frozenset({Outcome.CREATED, Outcome.REPLACED})
NOT_NEEDED = "not_needed"
