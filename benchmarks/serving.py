"""Whether uploads and lists stay responsive under a real gunicorn while a batch uses all cores."""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from benchmarks.batches import fill
from benchmarks.children import installation
from benchmarks.harness import Answer, Goal, Options, Table, number
from benchmarks.photographs import jpegs, scene
from novaproxy_site.tests.installation import ROOT, Installation, wait_for
from novaproxy_site.tests.servers import free_ports, running
from proxies.tests.driving import RunningWorker

# Limits for each kind of request, ms, while a batch runs on both cores.
_STATE = "from proxies.models import Batch; print(Batch.objects.latest('id').state)"
P50_LIMIT, P99_LIMIT = 300.0, 1500.0
ROWS = 20_000


def measure(options: Options) -> Answer:
    seconds = 3 if options.short else 12
    with installation(ALLOWED_HOSTS="127.0.0.1") as made:
        fill(made, jpegs(options), 40 if options.short else 300, options.work)
        token = _prepare(made)
        worker = RunningWorker(made, workers=2)
        try:
            worker.parts()
            with _gunicorn(made, token) as site:
                wait_for(lambda: _is_idle(made), seconds=300, what="the uploads to be done")
                idle = _ask_for(site, seconds)
                wait_for(lambda: _is_idle(made), seconds=300, what="the uploads to be done")
                _start_batch(made)
                busy = _ask_for(site, seconds)
                worked = made.shell(
                    "from proxies.models import Batch; print(Batch.objects.latest('id').state)"
                )
        finally:
            worker.stop()
            worker.close()
    return _answer(idle, busy, still_working=worked.strip() == "running")


def _answer(idle: dict[str, list[float]], busy: dict[str, list[float]], *, still_working: bool) -> Answer:
    rows = [
        [
            what, number(len(busy[what])),
            *(number(_percentile(idle[what], share), 1) for share in (50, 99)),
            *(number(_percentile(busy[what], share), 1) for share in (50, 99)),
        ]
        for what in idle
    ]  # fmt: skip
    columns = ("request", "times", "idle p50 ms", "p99", "under a batch p50", "p99")
    note = (
        "gunicorn with 2 processes of 4 threads, a worker with 2 processes, SQLite; one client asks for one "
        f"thing after the other, on the same cores. {ROWS:,} files are listed. An upload is a JPEG of 12 "
        "megapixels and 3 MB, each of other bytes."
    )
    notes = [note]
    if not still_working:
        notes.append("The batch was done before the client: the figures under it are mixed with idle ones.")
    goals = [
        Goal(f"Under a batch: {what}, p{share} ms", _percentile(busy[what], share), limit)
        for what in busy
        for share, limit in ((50, P50_LIMIT), (99, P99_LIMIT))
    ]
    return Answer([Table("Responsiveness", columns, rows, notes)], goals)


def _percentile(values: list[float], share: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[share - 1]


def _prepare(made: Installation) -> str:
    """Fill the library with rows of small pictures that need no proxy; return an administrator's token."""
    return made.shell(f"""
        from django.contrib.auth import get_user_model
        from rest_framework.authtoken.models import Token
        from media_files.models import MediaFile
        rows = [
            MediaFile(file=f"none/{{n}}.jpg", format="JPEG", bytes=1, width=9, height=9)
            for n in range({ROWS})
        ]
        MediaFile.objects.bulk_create(rows, batch_size=2000)
        print(Token.objects.create(user=get_user_model().objects.create_superuser("bench")).key)
    """).strip()


def _is_idle(made: Installation) -> bool:
    left = made.shell("""
        from proxies.models import BatchItem
        print(BatchItem.objects.exclude(state="done").count())
    """)
    return left.strip() == "0"


def _start_batch(made: Installation) -> None:
    made.shell("""
        from media_files.models import MediaFile
        from proxies.batches import lifecycle
        from proxies.batches.selection import Selection
        lifecycle.start("image-proxy", Selection(MediaFile.objects.filter(width__gt=9)), {"force": True})
    """)


class Site:
    """The requests of a client to a running site."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._headers = {"Authorization": f"Token {token}"}
        picture = io.BytesIO()
        scene(4000, 3000).save(picture, "JPEG", quality=85)
        self._picture = picture.getvalue()
        self._uploads = 0

    def is_ready(self) -> bool:
        try:
            with urlopen(f"{self._address}/healthz", timeout=2):  # noqa: S310
                return True
        except (URLError, OSError):
            return False

    def list_files(self) -> None:
        self._get("/api/files?page_size=50")

    def list_missing(self) -> None:
        self._get("/api/files?proxy_state=not_needed")

    def list_batches(self) -> None:
        self._get("/api/batch")

    def upload(self) -> None:
        self._uploads += 1
        # A comment after the first marker makes it a different file with the same picture.
        note = f"{time.time_ns()}-{self._uploads}".encode()
        comment = b"\xff\xfe" + (len(note) + 2).to_bytes(2, "big") + note
        data = self._picture[:2] + comment + self._picture[2:]
        edge = b"a-boundary-of-the-benchmark"
        part = b'Content-Disposition: form-data; name="file"; filename="photo.jpg"'
        body = b"--" + edge + b"\r\n" + part + b"\r\n\r\n" + data + b"\r\n--" + edge + b"--\r\n"
        headers = self._headers | {"Content-Type": f"multipart/form-data; boundary={edge.decode()}"}
        self._send(Request(f"{self._address}/api/files", data=body, headers=headers))  # noqa: S310

    def _get(self, path: str) -> None:
        self._send(Request(f"{self._address}{path}", headers=self._headers))  # noqa: S310

    def _send(self, request: Request) -> None:
        with urlopen(request, timeout=60) as answer:  # noqa: S310
            json.load(answer)


@contextmanager
def _gunicorn(made: Installation, token: str) -> Iterator[Site]:
    (port,) = free_ports(1)
    site = Site(f"http://127.0.0.1:{port}", token)
    command = [
        *(
            sys.executable,
            "-m",
            "gunicorn",
            "novaproxy_site.wsgi",
            "--bind",
            f"127.0.0.1:{port}",
            "--chdir",
            ROOT,
        ),
        *("--workers", "2", "--threads", "4", "--timeout", "120", "--log-level", "warning"),
    ]
    log = Path(made.folder) / "gunicorn.log"
    with running([str(part) for part in command], log=log, ready=site.is_ready, environment=made.environment):
        yield site


def _ask_for(site: Site, seconds: float) -> dict[str, list[float]]:
    """Return the ms of each request: lists and uploads in turn, with short pauses."""
    asks: dict[str, Callable[[], None]] = {
        "list of files": site.list_files,
        "list by proxy state": site.list_missing,
        "list of batches": site.list_batches,
        "upload": site.upload,
    }
    took: dict[str, list[float]] = {name: [] for name in asks}
    for ask in asks.values():
        ask()
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(took["upload"]) < 5:
        for name, ask in asks.items():
            began = time.perf_counter()
            ask()
            took[name].append((time.perf_counter() - began) * 1000)
            time.sleep(0.02)
    return took
