"""The outcome codes of the ledger, shown unchanged in the admin, the API and the commands."""

from __future__ import annotations

from enum import StrEnum


class Outcome(StrEnum):
    """The outcome for a file; in a plan, the expected one."""

    CREATED = "created"
    REPLACED = "replaced"
    REUSED = "reused"
    SKIPPED = "skipped"
    FAILED = "failed"
    QUARANTINED = "quarantined"


NEEDS_WORK = frozenset({Outcome.CREATED, Outcome.REPLACED})
NOT_NEEDED = "not_needed"
