"""How much memory a process that decodes may take."""

from __future__ import annotations

import resource
from contextlib import suppress

from django.conf import settings


def limit_memory() -> None:
    """Have the system refuse this process more than NOVAPROXY_MAX_MEMORY, from now on.

    A decoder that asks for more gets an error, which ends as `MemoryLimit` for its file, instead of the
    process's end or the machine's. Counted is address space, so the limit is above what is really used.
    To be called in the process itself, after the fork. 0 sets no limit.
    """
    if not settings.NOVAPROXY_MAX_MEMORY:
        return
    most = settings.NOVAPROXY_MAX_MEMORY * 1024 * 1024
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    # A system that knows no such limit, as macOS, or has set a lower one already.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (most, hard))
