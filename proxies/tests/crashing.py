"""One item's life, ended by kill -9 at each of its file and database calls in turn.

Runs inside an installation (`novaproxy_site.tests.installation`): a child process does the work and kills
itself at the n-th call; this process then plays the sweeper and the next worker.
"""

from __future__ import annotations

import io
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.db import connection, connections
from PIL import Image, ImageFile

from media_files.facts import measure
from media_files.models import DiscardedFile, MediaFile
from media_files.storage.local import LocalStorage
from proxies.batches import lifecycle, runner
from proxies.batches.claim import Claim
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.models import Batch, BatchItem, DiscardedProxy, Proxy, ProxyLease, proxies_storage
from proxies.rendering import render


def photo(seed: int, *, transparent: bool = False) -> bytes:
    """A picture that needs a proxy, and whose bytes no other seed gives."""
    noise = random.Random(seed).randbytes(48)
    picture = Image.frombytes("RGB", (4, 4), noise).resize((1000, 920))
    stream = io.BytesIO()
    if transparent:
        picture.putalpha(128)
        picture.save(stream, "PNG", compress_level=1)
    else:
        picture.save(stream, "JPEG")
    return stream.getvalue()


def scan(seed: int) -> bytes:
    """A small picture that needs a proxy because models read no TIFF: quickly made, and quickly decoded."""
    noise = random.Random(seed).randbytes(48)
    stream = io.BytesIO()
    Image.frombytes("RGB", (4, 4), noise).resize((40, 30)).save(stream, "TIFF")
    return stream.getvalue()


@dataclass
class Crash:
    """How one round went.

    Attributes:
        point: the number of the call that was the last.
        where: what was called.
        temporaries: how many files in the writing were left behind.
        problems: what was not in order after the next worker and the sweeper.
    """

    point: int
    where: str
    temporaries: int
    problems: list[str]


class Points:
    """Counts the calls of this process, and ends it at the n-th."""

    def __init__(self, fatal: int, log: int) -> None:
        self.count = 0
        self.fatal = fatal
        self.log = log

    def passed(self, where: str) -> None:
        self.count += 1
        if self.count == self.fatal:
            os.write(self.log, where.encode())
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)  # in a thread that the signal has not reached yet

    def watch(self) -> None:
        """Put a point before each statement, about each commit and each call on a file, and in the decode."""
        connection.execute_wrappers.append(self._statement)
        setattr(connection, "commit", self._about(connection.commit, "commit"))  # noqa: B010 - a method
        for name in ("put", "fetch", "delete"):
            for storage in {type(storages["originals"]), type(storages["proxies"])}:
                setattr(storage, name, self._about(getattr(storage, name), name))
        for name in ("replace", "fsync", "open", "unlink"):
            setattr(os, name, self._about(getattr(os, name), f"os.{name}"))
        for picture, name, where in (
            (render, "render", "render"),
            (ImageFile.ImageFile, "load_prepare", "decode"),
            (ImageFile.ImageFile, "load_end", "decode's end"),
        ):
            setattr(picture, name, self._about(getattr(picture, name), where))

    def _statement(self, execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
        self.passed(f"before {sql[:60]}")
        return execute(sql, *rest)

    def _about(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        def about(*args: Any, **kwargs: Any) -> Any:
            self.passed(f"before {name}")
            result = call(*args, **kwargs)
            self.passed(f"after {name}")
            return result

        return about


def crash_everywhere(prepare: Callable[[int], Batch], *, step: int = 1) -> list[Crash]:
    """Kill one item's worker at each point, and say what was not in order afterwards.

    ``prepare(n)`` makes a file, gives it a batch with one item that waits, and returns the batch.
    """
    return list(_rounds(prepare, step))


def _rounds(prepare: Callable[[int], Batch], step: int) -> Iterator[Crash]:
    point = 1
    while True:
        batch = prepare(point)
        where = _work_until_killed(batch, point)
        if not where:
            return
        left = len(temporaries())
        age_temporaries()
        sweep()
        batch.refresh_from_db()
        runner.perform(Claim(batch, lambda: False))
        lifecycle.finish_if_done(batch)
        sweep()
        yield Crash(point, where, left, list(problems(batch)))
        point += step


def _work_until_killed(batch: Batch, point: int) -> str:
    """Do the work in a child that ends at the point; return where that was, nothing if it never came."""
    connections.close_all()
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        connection.ensure_connection()
        Points(point, write).watch()
        runner.perform(Claim(batch, lambda: False))
        os._exit(0)
    os.close(write)
    where = os.read(read, 1000).decode()
    os.close(read)
    _, status = os.waitpid(pid, 0)
    if not where and status:
        return f"ended by itself with {status}"
    return where


def problems(batch: Batch) -> Iterator[str]:
    """All that must not be after a crash, one sweep and the next worker."""
    for item in BatchItem.objects.exclude(state=BatchItem.State.DONE):
        yield f"item {item.pk} is {item.state}: {item.message}"
    for item in batch.items.filter(outcome="failed").exclude(error="source_missing"):
        yield f"item {item.pk} failed: {item.error} {item.message}"
    yield from file_problems()
    for model in (ProxyLease, DiscardedFile, DiscardedProxy):
        if left := model.objects.count():
            yield f"{left} {model.__name__} left"


def file_problems() -> Iterator[str]:
    """Where rows and files disagree."""
    storage = proxies_storage()
    rows = {str(proxy.image.name): proxy for proxy in Proxy.objects.all()}
    for name, proxy in rows.items():
        if not storage.exists(name):
            yield f"row without file: {name}"
            continue
        with storage.fetch(name) as stream:
            if measure(stream)[0] != proxy.sha256:
                yield f"other bytes than the row's under {name}"
    yield from (f"file without row: {name}" for name in _listed("proxies", "proxy_image") if name not in rows)
    yield from (f"temporary left: {path}" for path in temporaries())


def temporaries() -> list[Path]:
    """The files that are being written, or were when their writer died. In a bucket there are none."""
    local = {storages[alias] for alias in ("originals", "proxies")}
    folders = {Path(storage.location) for storage in local if isinstance(storage, LocalStorage)}
    return sorted(path for folder in folders for path in (folder / LocalStorage.INCOMING).glob("*"))


def age_temporaries() -> None:
    """As if a quarter of an hour had gone by since they were written."""
    for path in temporaries():
        with suppress(FileNotFoundError):  # its writer has just moved it to its name
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 900))


def _listed(alias: str, folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in storages[alias].listdir(folder)[1]]
    except FileNotFoundError:
        return []


# -- The lives that are cut short --------------------------------------------------------------------


def upload(seed: int) -> Batch:
    """A new file, saved."""
    MediaFile.objects.create(file=ContentFile(photo(seed), "new.jpg"))
    return Batch.objects.get(standing=Batch.UPLOADS)


def replacement(seed: int) -> Batch:
    """A file whose transparent original gave a PNG, replaced by one that gives a JPEG."""
    file = MediaFile.objects.create(file=ContentFile(photo(seed, transparent=True), "old.png"))
    uploads = Batch.objects.get(standing=Batch.UPLOADS)
    runner.perform(Claim(uploads, lambda: False))
    file.file = ContentFile(photo(seed), "old.jpg")
    file.save()
    return uploads


def forced(seed: int) -> Batch:
    """A file with a current proxy, in a batch that makes it again."""
    upload(seed)
    runner.perform(Claim(Batch.objects.get(standing=Batch.UPLOADS), lambda: False))
    newest = MediaFile.objects.order_by("-id")[:1].values("pk")
    return lifecycle.start(
        "image-proxy",
        Selection(MediaFile.objects.filter(pk__in=newest)),
        {"force": True},
        executor=Batch.Executor.LOCAL,
    )
