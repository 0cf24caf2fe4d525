"""A proxy in the making, what became of it, and what may come between."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import UUID

from media_files.errors import StorageError
from media_files.facts import FileFacts
from media_files.models import MediaFile
from media_files.storage.base import Stored
from proxies.models import DiscardedProxy, Proxy
from proxies.outcomes import NOT_NEEDED, Outcome
from proxies.rendering.profiles import ProxyProfile
from proxies.rendering.render import Reason, proxy_reasons


class ProxyBusy(StorageError):
    """Another process is making this very proxy."""


class LeaseLost(StorageError):
    """The lease ran out while the proxy was being made; what was put may lie over another's bytes."""


@dataclass(frozen=True, slots=True)
class ProxyResult:
    """What became of one file.

    Attributes:
        outcome: the contract's word.
        source: the original's row.
        reasons: why a proxy was needed; empty where none was.
        proxy: the row, where there is a current one.
    """

    outcome: Outcome
    source: MediaFile
    reasons: list[Reason] = field(default_factory=list)
    proxy: Proxy | None = None

    @property
    def reason_codes(self) -> list[str]:
        """As every door tells them."""
        return [NOT_NEEDED] if self.outcome == Outcome.SKIPPED else [reason.value for reason in self.reasons]


def reasons_of(source: MediaFile, profile: ProxyProfile) -> list[Reason]:
    """Why a file needs a proxy, whatever becomes of it; none where nothing was read of it yet."""
    return [] if source.facts is None else proxy_reasons(source.facts, profile)


def is_kept(proxy: Proxy, *fingerprints: str) -> bool:
    """Whether a proxy is left alone where none is needed: one that was given, of today's bytes."""
    return proxy.is_given and proxy.source_fingerprint in fingerprints


@dataclass(slots=True)
class RenderJob:
    """A proxy in the making: begun under a lease, and not recorded yet."""

    source: MediaFile
    token: UUID
    reasons: list[Reason]
    failed_before: bool = False
    new_facts: FileFacts | None = None
    before: Proxy | None = None
    note: DiscardedProxy | None = None
    stored: Stored | None = None
    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add what is done inside to the time taken: the work, not the waiting for others' work."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
