"""How often one caller may ask."""

from __future__ import annotations

from rest_framework.throttling import UserRateThrottle

from media_files.conf import setting


class CallerRate(UserRateThrottle):
    """NOVAPROXY_API_RATE for each user, or each address without one; none where it is empty.

    Counted in each web process by itself: a caller whose requests are spread over four of them may ask four
    times as often. Beyond it the answer is 429, with Retry-After.
    """

    def get_rate(self) -> str | None:
        return setting("NOVAPROXY_API_RATE") or None
