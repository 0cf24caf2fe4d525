"""Distinguish a machine that is out of resources from a faulty file.

Decoders report a refused allocation or a missing file descriptor in many ways: as a damaged file, as an
unsupported one, as `MemoryError`. Their message is no evidence. The error number is, and so is whether the
machine grants what the picture needs on a second attempt.
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

# Most bytes per pixel that decoder and resizer need together: WebP in Pillow takes 16.
_BYTES_A_PIXEL: Final = 16
# The memory that a decoder needs for a picture of any size.
_LEAST_BYTES: Final = 64 << 20


def error_class(number: int | None) -> type[StorageError]:
    """Return the error class for an error number of the operating system."""
    if number in DISK_FULL:
        return NoSpace
    return MachineLimit if number in MACHINE_LIMITS else StorageError


def find_shortage(error: BaseException, pixels: int = 0) -> StorageError | None:
    """Return an error for the resource that the machine lacked when a decoder failed, or None.

    Args:
        error: the decoder's exception. Its causes count too.
        pixels: pixels of the picture that was decoded; 0 if only its header was read.
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
    """Try to allocate the memory that the picture needs, without touching it."""
    needed = max(pixels * _BYTES_A_PIXEL, _LEAST_BYTES)
    try:
        mmap.mmap(-1, needed).close()
    except (OSError, MemoryError):
        return MachineLimit(
            f"The machine refuses the {needed >> 20} MB that decoding this picture may take. "
            "The file is tried again later; give this process more memory."
        )
    return None
