"""Warn about variables that no setting reads: a misspelt one would silently have no effect."""

from __future__ import annotations

import os
from difflib import get_close_matches
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from proxies.processes.control_dir import VARIABLE

_PREFIX: Final = "NOVAPROXY_"
_SHORTEST: Final = 5
# Read by worker processes, by tests and by benchmarks.
_OF_OTHERS: Final = (VARIABLE, "NOVAPROXY_TEST_", "NOVAPROXY_CHAOS_", "NOVAPROXY_BENCH_")


@register
def check_variables(**kwargs: Any) -> list[CheckMessage]:
    """Warn about unread environment variables with our prefix, or with a name close to one of ours."""
    unread = sorted(name for name in os.environ if name not in settings.NOVAPROXY_VARIABLES)
    return [
        Warning(f"No setting is read from {name}.", hint=_hint(name), id="novaproxy_site.W001")
        for name in unread
        if not name.startswith(_OF_OTHERS) and (name.upper().startswith(_PREFIX) or _meant(name))
    ]


def _meant(name: str) -> str:
    """Return the variable that was probably meant; empty if none is close enough.

    Names without our prefix may belong to any program, so the match must be closer: one letter in ten may
    differ.
    """
    cutoff = 0.8 if name.upper().startswith(_PREFIX) else 0.9
    # Short names are ambiguous: DEBUGS or DEBAG may just as well belong to another program.
    known = [variable for variable in settings.NOVAPROXY_VARIABLES if len(variable) > _SHORTEST]
    return next(iter(get_close_matches(name.upper(), known, n=1, cutoff=cutoff)), "")


def _hint(name: str) -> str:
    meant = _meant(name)
    return f"{f'Is {meant} meant? ' if meant else ''}docs/settings.md lists all variables."
