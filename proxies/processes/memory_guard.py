"""Memory use of processes that decode images: reuse of freed memory, and a limit."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from typing import Final

import psutil

from proxies.conf import setting

logger = logging.getLogger(__name__)

# mallopt(3), <malloc.h>
_TRIM_THRESHOLD: Final = -1
_MMAP_THRESHOLD: Final = -3
_KEPT: Final = 128 << 20
_LARGEST_KEPT: Final = 1 << 30

_LOOK_EACH: Final = 0.1  # s; decoders fill a gigabyte in about a second


def keep_freed_memory() -> None:
    """Keep up to 128 MB of freed memory in this process for the next image.

    Otherwise the C library returns an image's memory to the system, which provides it again page by page;
    that can take a quarter of the time of making a proxy. Only glibc does so and can be configured
    (mallopt(3)); with other C libraries this does nothing.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def watch_memory() -> None:
    """Start a thread that kills this process once it takes more than NOVAPROXY_MAX_MEMORY.

    The current file then counts an attempt and is quarantined after three. Without this, the machine would
    run out of memory and kill an arbitrary process. A system limit (``RLIMIT_AS``) does not work: several
    decoders treat a refused allocation as a damaged file, and one aborts.

    Call this in the process itself, after the fork. 0 sets no limit.
    """
    most = setting("NOVAPROXY_MAX_MEMORY") * 1024 * 1024
    if most:
        threading.Thread(target=_watch, args=(most,), name="memory", daemon=True).start()


def _watch(most: int) -> None:
    process = psutil.Process()
    while True:
        time.sleep(_LOOK_EACH)
        taken = process.memory_info().rss
        if taken > most:
            logger.critical(
                "Process %d takes %d MB, more than NOVAPROXY_MAX_MEMORY allows (%d MB), and is ended.",
                process.pid,
                taken >> 20,
                most >> 20,
            )
            os.kill(process.pid, signal.SIGKILL)
