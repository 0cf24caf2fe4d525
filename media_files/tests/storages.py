"""Helpers shared by the tests of both storages."""

from __future__ import annotations

import io
from pathlib import Path

from media_files.storage.base import MediaStorage

NAME = "proxy_image/IMG_0001_7_nova.jpg"
LARGE = 20 * 1024**2


def read(storage: MediaStorage, name: str) -> bytes:
    with storage.fetch(name) as stream:
        return stream.read()


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Unseekable(io.RawIOBase):
    """A stream that cannot seek, like a socket's."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._content.readinto(buffer)


class Failing(io.BytesIO):
    """A stream that returns some bytes and then raises an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 3_000_000)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 2_000_000:
            raise self._error
        return super().read(size)
