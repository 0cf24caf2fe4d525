"""Rate limit per caller."""

from __future__ import annotations

from rest_framework.throttling import UserRateThrottle

from media_files.conf import setting


class CallerRate(UserRateThrottle):
    """Limit each user, or each address of anonymous callers, to NOVAPROXY_API_RATE. Empty means no limit.

    Each web process counts separately: with four processes, a caller may make up to four times as many
    requests. Requests over the limit get 429 with Retry-After.
    """

    def get_rate(self) -> str | None:
        return setting("NOVAPROXY_API_RATE") or None
