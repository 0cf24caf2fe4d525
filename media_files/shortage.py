"""Shortages of the machine, told apart from faults of a file.

Decoders report a refused allocation or a missing descriptor in any words: as a damaged file, as an
unsupported one, as `MemoryError`. What they say is not evidence; the error number is, and so is whether the
machine grants what the picture needs when it is asked again.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from typing import Final

from media_files.errors import MachineLimit, NoSpace, StorageError

DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
MACHINE_LIMITS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
_DEVICE: Final = frozenset({errno.EIO, errno.ESTALE, errno.ENXIO, errno.ENODEV})

# Bytes a pixel that the decoders and the resizer hold between them, at most: WebP by Pillow takes 16.
_BYTES_A_PIXEL: Final = 16
# What a decoder takes for a picture of any size.
_LEAST_BYTES: Final = 64 << 20


def error_class(number: int | None) -> type[StorageError]:
    """Return the class of error for an error number of the operating system."""
    if number in DISK_FULL:
        return NoSpace
    return MachineLimit if number in MACHINE_LIMITS else StorageError


def find_shortage(error: BaseException, pixels: int = 0) -> StorageError | None:
    """Return what the machine lacks, if that is why a decoder failed; None if it lacks nothing.

    Args:
        error: what the decoder raised. Its causes count too.
        pixels: of the picture that was decoded; 0 where only its header was read.
    """
    for link in _chain(error):
        number = link.errno if isinstance(link, OSError) else None
        if number in DISK_FULL | MACHINE_LIMITS | _DEVICE:
            return error_class(number)(
                f"The machine failed while the picture was read: {os.strerror(number or 0)}. "
                "The file is tried again later; check disk, memory and limits of this machine."
            )
    return _descriptors() or _memory(pixels)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _descriptors() -> MachineLimit | None:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return MachineLimit(
            f"This process can open no more files ({error.strerror}). "
            "The file is tried again later; raise the limit on open files (ulimit -n)."
        )
    return None


def _memory(pixels: int) -> MachineLimit | None:
    """Ask for the memory that the picture needs, without touching it."""
    needed = max(pixels * _BYTES_A_PIXEL, _LEAST_BYTES)
    try:
        mmap.mmap(-1, needed).close()
    except (OSError, MemoryError):
        return MachineLimit(
            f"The machine refuses the {needed >> 20} MB that decoding this picture may take. "
            "The file is tried again later; give this process more memory."
        )
    return None
