"""A limit on the work that reading a file's structure may take, whatever it consists of."""

from __future__ import annotations

import io
import os
from typing import BinaryIO, Final

from media_files.errors import ImageTooLarge

BASE: Final = 32 << 20
"""Units of work that every file may take: one for each byte that is read or decompressed."""

PER_BYTE: Final = 4
"""Further units for each byte of the file."""

PER_READ: Final = 256
"""Units for each read, in addition to its bytes; a read takes about a microsecond."""


class Metered(io.RawIOBase):
    """A stream that raises `ImageTooLarge` when more was read than a sound file of its size needs."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = BASE + PER_BYTE * size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.spend(PER_READ + len(data))
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def spend(self, units: int) -> None:
        """Count work other than reading."""
        self._left -= units
        if self._left < 0:
            raise ImageTooLarge(
                "The file's structure takes more work to read than is allowed for its size. "
                "Save it again in an image editor."
            )


def spend(stream: BinaryIO, units: int) -> None:
    """Count work other than reading, if ``stream`` is metered."""
    if isinstance(stream, Metered):
        stream.spend(units)
