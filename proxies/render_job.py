"""A render job, its result, and its errors."""

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
from proxies.rendering.thumbnail import Thumbnail


class ProxyBusy(StorageError):
    """Another process is making the same proxy."""


class LeaseLost(StorageError):
    """The lease expired while the proxy was being made; the stored file may have overwritten another's."""


@dataclass(frozen=True, slots=True)
class ProxyResult:
    """The result for one file.

    Attributes:
        outcome: the outcome code.
        source: the original's row.
        reasons: why a proxy was needed; empty if none was.
        proxy: the row of the up-to-date proxy, if there is one.
    """

    outcome: Outcome
    source: MediaFile
    reasons: list[Reason] = field(default_factory=list)
    proxy: Proxy | None = None

    @property
    def reason_codes(self) -> list[str]:
        """The reasons as the codes that the admin, the API and the commands show."""
        return [NOT_NEEDED] if self.outcome == Outcome.SKIPPED else [reason.value for reason in self.reasons]


def reasons_of(source: MediaFile, profile: ProxyProfile) -> list[Reason]:
    """Return why a file needs a proxy, regardless of its outcome; empty if it has not been read yet."""
    return [] if source.facts is None else proxy_reasons(source.facts, profile)


def is_kept(proxy: Proxy, *fingerprints: str) -> bool:
    """Return whether to keep a proxy that is not needed: an external one of the current bytes."""
    return proxy.is_given and proxy.source_fingerprint in fingerprints


@dataclass(slots=True)
class RenderJob:
    """A proxy that is being made under a lease and is not recorded yet."""

    source: MediaFile
    token: UUID
    reasons: list[Reason]
    failed_before: bool = False
    thumbnail: Thumbnail | None = None
    new_facts: FileFacts | None = None
    before: Proxy | None = None
    note: DiscardedProxy | None = None
    stored: Stored | None = None
    seconds: float = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the block's duration to the job's time, which covers work, not waiting."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - began
