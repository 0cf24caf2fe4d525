"""Process one item and kill -9 the process at each of its file and database calls in turn.

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
    """Return an image that needs a proxy and whose bytes are unique to the seed."""
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
    """Return a small image that is fast to create and decode; it needs a proxy because models cannot read
    TIFF.
    """
    noise = random.Random(seed).randbytes(48)
    stream = io.BytesIO()
    Image.frombytes("RGB", (4, 4), noise).resize((40, 30)).save(stream, "TIFF")
    return stream.getvalue()


@dataclass
class Crash:
    """The result of one round.

    Attributes:
        point: the number of the last call.
        where: what was called.
        temporaries: how many unfinished files were left behind.
        problems: what was still wrong after the next worker and the sweeper had run.
    """

    point: int
    where: str
    temporaries: int
    problems: list[str]


class Points:
    """Count the calls of this process, and kill it at the n-th."""

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
        """Add a point before each statement, around each commit and file call, and in the decoder."""
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
    """Kill one item's worker at each point, and return what was wrong afterwards.

    ``prepare(n)`` creates a file and a batch with one queued item for it, and returns the batch.
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
    """Do the work in a child that dies at the point; return where that was, or "" if it was never reached."""
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
    """Yield everything that must not exist after a crash, one sweep and the next worker."""
    for item in BatchItem.objects.exclude(state=BatchItem.State.DONE):
        yield f"item {item.pk} is {item.state}: {item.message}"
    for item in batch.items.filter(outcome="failed").exclude(error="source_missing"):
        yield f"item {item.pk} failed: {item.error} {item.message}"
    yield from file_problems()
    for model in (ProxyLease, DiscardedFile, DiscardedProxy):
        if left := model.objects.count():
            yield f"{left} {model.__name__} left"


def file_problems() -> Iterator[str]:
    """Yield the mismatches between rows and files."""
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
    """Return the files being written, or left behind by a dead writer. A bucket has none."""
    local = {storages[alias] for alias in ("originals", "proxies")}
    folders = {Path(storage.location) for storage in local if isinstance(storage, LocalStorage)}
    return sorted(path for folder in folders for path in (folder / LocalStorage.INCOMING).glob("*"))


def age_temporaries() -> None:
    """Make the temporary files look a quarter of an hour old."""
    for path in temporaries():
        with suppress(FileNotFoundError):  # its writer has just renamed it
            os.utime(path, (path.stat().st_atime, path.stat().st_mtime - 900))


def _listed(alias: str, folder: str) -> list[str]:
    try:
        return [f"{folder}/{name}" for name in storages[alias].listdir(folder)[1]]
    except FileNotFoundError:
        return []


# -- The items that are interrupted ------------------------------------------------------------------


def upload(seed: int) -> Batch:
    """Save a new file."""
    MediaFile.objects.create(file=ContentFile(photo(seed), "new.jpg"))
    return Batch.objects.get(standing=Batch.UPLOADS)


def replacement(seed: int) -> Batch:
    """Replace a transparent original, which gave a PNG proxy, with one that gives a JPEG."""
    file = MediaFile.objects.create(file=ContentFile(photo(seed, transparent=True), "old.png"))
    uploads = Batch.objects.get(standing=Batch.UPLOADS)
    runner.perform(Claim(uploads, lambda: False))
    file.file = ContentFile(photo(seed), "old.jpg")
    file.save()
    return uploads


def forced(seed: int) -> Batch:
    """Start a batch that recreates an up-to-date proxy."""
    upload(seed)
    runner.perform(Claim(Batch.objects.get(standing=Batch.UPLOADS), lambda: False))
    newest = MediaFile.objects.order_by("-id")[:1].values("pk")
    return lifecycle.start(
        "image-proxy",
        Selection(MediaFile.objects.filter(pk__in=newest)),
        {"force": True},
        executor=Batch.Executor.LOCAL,
    )
