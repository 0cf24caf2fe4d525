"""Whether models can be asked, for pages: looking for credentials may ask a server, no page waits for one.

The last place where the AWS chain looks is the machine's instance metadata service, which answers at once, or
after seconds that it is not there.
"""

from __future__ import annotations

import threading
from typing import Final

from analysis.providers import aws

# Seconds that a page waits for a look that it began: enough where no server has to be asked.
_PATIENCE: Final = 0.5


class Readiness:
    """What the last look found; the next goes on beside the pages."""

    def __init__(self) -> None:
        self._missing: list[str] = []
        self._look: threading.Thread | None = None

    def missing(self, patience: float = _PATIENCE) -> list[str]:
        """What has to be set before anything can be asked; nothing while that is not known yet."""
        if self._look is None or not self._look.is_alive():
            self._look = threading.Thread(target=self._find, name="readiness", daemon=True)
            self._look.start()
            self._look.join(patience)
        return self._missing

    def _find(self) -> None:
        self._missing = aws.missing_setup()


readiness = Readiness()
