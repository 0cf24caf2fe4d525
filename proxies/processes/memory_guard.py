"""How much memory a process that decodes may take."""

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
    """Have this process keep up to 128 MB that a picture has freed, for the next one.

    Else the C library returns a picture's memory to the system, which hands it out again page by page: a
    quarter of the time of making a proxy can go there. Of the C libraries only glibc has such a rule and the
    means to change it (mallopt(3)); elsewhere nothing is done.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_TRIM_THRESHOLD, _KEPT)


def watch_memory() -> None:
    """Have a thread end this process, as the system would, once it takes more than NOVAPROXY_MAX_MEMORY.

    The file in hand then counts an attempt, and after three it is in quarantine; without this the machine
    would run out of memory and end who knows whom. A limit set to the system (``RLIMIT_AS``) will not do:
    several decoders take a refused allocation for a damaged file, and one aborts.

    To be called in the process itself, after the fork. 0 sets no limit.
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
