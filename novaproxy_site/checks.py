"""Variables that no setting is read from are told of: a misspelt one would quietly change nothing."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from proxies.pulse import VARIABLE

_PREFIX: Final = "NOVAPROXY_"
# Read by a worker's own processes, by tests and by benchmarks.
_OF_OTHERS: Final = (VARIABLE, "NOVAPROXY_TEST_", "NOVAPROXY_CHAOS_", "NOVAPROXY_BENCH_")


@register
def check_variables(**kwargs: Any) -> list[CheckMessage]:
    ours = [name for name in os.environ if name.upper().startswith(_PREFIX)]
    unread = sorted(name for name in ours if name not in settings.NOVAPROXY_VARIABLES)
    return [
        Warning(f"No setting is read from {name}.", hint=_hint(name), id="novaproxy_site.W001")
        for name in unread
        if not name.startswith(_OF_OTHERS)
    ]


def _hint(name: str) -> str:
    nearest = get_close_matches(name.upper(), settings.NOVAPROXY_VARIABLES, n=1, cutoff=0.8)
    meant = f"Is {nearest[0]} meant? " if nearest else ""
    return f"{meant}README.md lists those that are read."
