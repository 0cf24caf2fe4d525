"""A file without some of its parts, as a stream that decoders can read and seek in."""

from __future__ import annotations

import io
import os
from bisect import bisect_right
from collections.abc import Iterable
from itertools import accumulate
from typing import BinaryIO

Range = tuple[int, int]
"""Offsets of the first byte, and of the byte behind the last."""


class Spliced(io.RawIOBase):
    """Parts of a file, one after the other. The file stays open and is read on demand."""

    def __init__(self, stream: BinaryIO, parts: Iterable[Range]) -> None:
        super().__init__()
        self._stream = stream
        self._parts = _joined(parts)
        self._ends = list(accumulate(end - start for start, end in self._parts))
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        pieces = []
        left = self._ends[-1] - self._at if size is None or size < 0 else size
        while left > 0 and self._at < self._ends[-1]:
            index = bisect_right(self._ends, self._at)
            end = self._parts[index][1]
            start = end - (self._ends[index] - self._at)
            self._stream.seek(start)
            piece = self._stream.read(min(left, end - start))
            if not piece:
                break
            pieces.append(piece)
            self._at += len(piece)
            left -= len(piece)
        return b"".join(pieces)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._ends[-1]}[whence]
        self._at = max(0, origin + offset)
        return self._at

    def tell(self) -> int:
        return self._at


def _joined(parts: Iterable[Range]) -> list[Range]:
    """Join parts that follow each other in the file too."""
    joined: list[Range] = []
    for start, end in parts:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        elif end > start:
            joined.append((start, end))
    return joined
