"""Check for pages whether models can be called, without making a page wait for a server.

The AWS credential chain ends with the instance metadata service, which answers at once if it exists, and
otherwise takes seconds to time out.
"""

from __future__ import annotations

import threading
from typing import Final

from analysis.providers import aws

# Seconds that a page waits for a check that it started: enough if no server is queried.
_PATIENCE: Final = 0.5


class Readiness:
    """Caches the result of the last check; the next one runs in a background thread."""

    def __init__(self) -> None:
        self._missing: list[str] = []
        self._look: threading.Thread | None = None

    def missing(self, patience: float = _PATIENCE) -> list[str]:
        """Return what must be set before any call; empty until the first check is done."""
        if self._look is None or not self._look.is_alive():
            self._look = threading.Thread(target=self._find, name="readiness", daemon=True)
            self._look.start()
            self._look.join(patience)
        return self._missing

    def _find(self) -> None:
        self._missing = aws.missing_setup()


readiness = Readiness()
