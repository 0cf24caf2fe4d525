"""A storage in memory that can fail before, in the middle of, and after each call."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any, BinaryIO, ClassVar, cast

from django.core.files.base import File

from media_files.errors import SourceMissing
from media_files.storage.base import OCTETS, Found, MediaStorage, SourceChanged, Stored, byte_chunks


class MemoryStorage(MediaStorage):
    """Files by name. A failed write leaves a temporary file behind, as in a folder.

    Attributes:
        files: the contents of all storages, by name; emptied for each run.
        gate: called for each call: ``gate(phase, operation, place, name)`` may raise.
    """

    files: ClassVar[dict[str, dict[str, bytes]]] = {}
    written: ClassVar[dict[str, list[float]]] = {}
    gate: ClassVar[Any] = staticmethod(lambda phase, operation, place, name: None)
    moment: ClassVar[Any] = staticmethod(lambda: 0.0)

    def __init__(self, place: str) -> None:
        self.place = place

    @property
    def label(self) -> str:
        return f"the storage {self.place} in memory"

    @property
    def setting(self) -> str:
        return "STORAGES"

    @property
    def _here(self) -> dict[str, bytes]:
        return MemoryStorage.files.setdefault(self.place, {})

    def _pass(self, phase: str, operation: str, name: str) -> None:
        MemoryStorage.gate(phase, operation, self.place, name)

    def put(self, name: str, content: bytes | BinaryIO, *, content_type: str = OCTETS) -> Stored:
        self._pass("before", "put", name)
        whole = b"".join(byte_chunks(content))
        written = MemoryStorage.written.setdefault(self.place, [])
        written.append(MemoryStorage.moment())
        try:
            self._pass("amid", "put", name)
        except Exception:
            written.pop()  # the writer removes its temporary file; only a killed one cannot
            raise
        written.pop()
        self._here[name] = whole
        self._pass("after", "put", name)
        return self._stored(name)

    def fetch(self, name: str, *, etag: str = "", version: str = "") -> BinaryIO:
        self._pass("before", "fetch", name)
        stored = self._stored(name)
        if etag and etag != stored.etag:
            raise SourceChanged(f"{name!r} is another object than the one that was asked for.")
        stream = BytesIO(self._here[name])
        self._pass("after", "fetch", name)
        return stream

    def stat(self, name: str) -> Stored:
        self._pass("before", "stat", name)
        return self._stored(name)

    def walk(self, prefix: str) -> Iterator[Found]:
        self._pass("before", "walk", prefix)
        for name, content in sorted(self._here.items()):
            if name.startswith(f"{prefix}/"):
                yield Found(name, len(content), MemoryStorage.moment())

    def temporaries(self, older_than: timedelta) -> Iterator[Found]:
        deadline = MemoryStorage.moment() - older_than.total_seconds()
        for number, moment in enumerate(MemoryStorage.written.get(self.place, [])):
            if moment <= deadline:
                yield Found(f".incoming/{number}", 0, moment)

    def sweep_temporaries(self, older_than: timedelta) -> int:
        self._pass("before", "sweep", "")
        deadline = MemoryStorage.moment() - older_than.total_seconds()
        written = MemoryStorage.written.setdefault(self.place, [])
        young = [moment for moment in written if moment > deadline]
        swept = len(written) - len(young)
        written[:] = young
        return swept

    def delete(self, name: str) -> None:
        self._pass("before", "delete", name)
        self._here.pop(name, None)
        self._pass("after", "delete", name)

    def exists(self, name: str) -> bool:
        self._pass("before", "exists", name)
        return name in self._here

    def size(self, name: str) -> int:
        return self.stat(name).bytes

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        self._pass("before", "listdir", path)
        prefix = f"{path.strip('/')}/" if path.strip("/") else ""
        rest = [name.removeprefix(prefix) for name in sorted(self._here) if name.startswith(prefix)]
        folders = sorted({name.split("/")[0] for name in rest if "/" in name})
        return folders, [name for name in rest if "/" not in name]

    def url(self, name: str | None) -> str:
        return f"/memory/{self.place}/{name}"

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        return File(self.fetch(name), name)

    def _save(self, name: str, content: File[Any]) -> str:
        return self.put(name, cast("BinaryIO", content.file)).name

    def _stored(self, name: str) -> Stored:
        content = self._here.get(name)
        if content is None:
            raise SourceMissing(f"There is no file {name!r} in the storage {self.place}.")
        return Stored(name=name, bytes=len(content), etag=hashlib.md5(content).hexdigest())  # noqa: S324
