"""How time and memory grow with the library: from ten thousand rows to a million."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.children import ask, set_up_django
from benchmarks.databases import databases
from benchmarks.harness import Answer, Goal, Options, Table, median, number

# What may grow with the selection, and what must not grow.
LINEAR: Final = ("plan", "start", "count")
FLAT: Final = ("claim", "due batch", "list page", "list by proxy state", "sweep")
# FLAT_LIMIT: how many times as long a flat act may take at the largest size as at the smallest.
# UNSEEN: below this many ms, differences come from caches.
FLAT_LIMIT, UNSEEN = 3.0, 5.0
MEMORY_LIMIT = 64.0


def measure(options: Options) -> Answer:
    sizes = (10_000, 40_000) if options.short else (10_000, 100_000, 1_000_000)
    tables, goals = [], []
    with databases() as urls:
        for name, url in urls.items():
            reported = ask("growth", *sizes, environment={"DATABASE_URL": url})
            tables.append(_table(name, reported))
            goals += _goals(name, reported)
    return Answer(tables, goals)


def _table(name: str, reported: list[dict[str, Any]]) -> Table:
    rows = [
        [act, *(number(at["ms"][act], 1) for at in reported), *(number(at["mb"][act], 0) for at in reported)]
        for act in (*LINEAR, *FLAT)
    ]
    sizes = [number(at["rows"]) for at in reported]
    columns = ("", *(f"{size} rows, ms" for size in sizes), *(f"{size}, MB" for size in sizes))
    note = (
        "As many files, half of them with a current proxy. MB is what the process's peak grew by. Plan, "
        "start and count read each row of what is selected; the others are asked again and again."
    )
    return Table(f"Growth on {name}", columns, rows, [note])


def _goals(name: str, reported: list[dict[str, Any]]) -> list[Goal]:
    first, last = reported[0], reported[-1]
    worst = max(last["ms"][act] / max(first["ms"][act], UNSEEN) for act in FLAT)
    memory = max(last["mb"].values())
    return [
        Goal(f"{name}: claim, list and sweep, largest against smallest", worst, FLAT_LIMIT),
        Goal(f"{name}: MB that the peak grew by over any of it", memory, MEMORY_LIMIT),
    ]


# -- In the child ------------------------------------------------------------------------------


def main(*sizes: str) -> None:
    """Print ms and MB of each act at each size; sizes must be in ascending order."""
    set_up_django()
    sys.stdout.write(json.dumps([_at(int(size)) for size in sizes]))


def _at(size: int) -> dict[str, Any]:
    _grow_to(size)
    acts, ms, mb = _acts(), {}, {}
    for name in (*LINEAR, *FLAT):
        repetitions = 1 if name == "start" else 5 if name in FLAT else 2
        ms[name], mb[name] = _clock(acts[name], repetitions)
    _forget_batches()
    return {"rows": size, "ms": ms, "mb": mb}


def _clock(act: Callable[[], object], repetitions: int) -> tuple[float, float]:
    """Return the median in ms, and the MB by which peak memory exceeds what was resident before."""
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak
    before = _resident("VmRSS")
    times = []
    for _ in range(repetitions):
        began = time.perf_counter()
        act()
        times.append(time.perf_counter() - began)
    return median(times) * 1000, max(0.0, _resident("VmHWM") - before)


def _resident(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def _acts() -> dict[str, Callable[[], object]]:
    from django.contrib.auth import get_user_model
    from django.test import Client

    from media_files.models import MediaFile
    from proxies.batches import lifecycle, runner
    from proxies.batches.claim import Claim
    from proxies.batches.counts import counts_of
    from proxies.batches.selection import Selection
    from proxies.batches.sweeper import sweep
    from proxies.models import Batch

    user, _ = get_user_model().objects.get_or_create(username="reader", is_superuser=True, is_staff=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    everything = Selection(MediaFile.objects.all())

    def start() -> None:
        lifecycle.start("image-proxy", everything, {})

    def newest() -> Batch:
        return Batch.objects.latest("id")

    def claim() -> None:
        work = Claim(newest(), lambda: False)
        next(iter(work))
        work.put_back_the_rest()

    def page(query: str) -> None:
        answer = client.get(f"/api/files?{query}")
        assert answer.status_code == 200, answer.content

    return {
        "plan": lambda: lifecycle.plan("image-proxy", everything, {}),
        "start": start,
        "count": lambda: counts_of(newest(), exact=True),
        "claim": claim,
        "due batch": runner.due_batch,
        "list page": lambda: page(""),
        "list by proxy state": lambda: page("proxy_state=missing"),
        "sweep": sweep,
    }


def _forget_batches() -> None:
    from django_q.models import OrmQ

    from proxies.models import Batch, BatchItem, WorkerSlot

    for model in (BatchItem, Batch, WorkerSlot, OrmQ):
        model.objects.all()._raw_delete(using="default")


def _grow_to(size: int) -> None:
    """Add copies of one file row up to `size`, and give every second file an up-to-date proxy."""
    from django.db import connection

    from media_files.models import MediaFile
    from proxies.models import Proxy
    from proxies.rendering.profiles import NOVA

    first = MediaFile.objects.order_by("-id").values_list("pk", flat=True).first() or 0
    file = MediaFile(format="JPEG", mode="RGB", bytes=5_000_000, width=6000, height=4000)
    _copy(
        file, first + 1, size,
        file="'original/' || i || '.jpg'", original_name="'IMG_' || i || '.jpg'", fingerprint="'print-' || i",
        sha256="'hash-' || i", bytes="4000000 + 37 * (i % 50000)",
    )  # fmt: skip
    proxy = Proxy(
        profile=NOVA.name, file_type="image", width=1344, height=896, format="JPEG", bytes=200_000,
        recipe=NOVA.recipe, sha256="0" * 64,
    )  # fmt: skip
    _copy(
        proxy, first + 1, size, every=2,
        source_id="i", image="'proxy_image/' || i || '_nova.jpg'", source_fingerprint="'print-' || i",
        bytes="150000 + 3 * (i % 50000)",
    )  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _copy(row: Any, first: int, last: int, *, every: int = 1, **different: str) -> None:
    """Insert copies of ``row`` with ids first to last; ``different`` maps columns to SQL on the id ``i``."""
    from django.db import connection
    from django.utils.timezone import now

    fields = [field for field in row._meta.concrete_fields if not field.primary_key]
    for field in fields:
        if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False):
            setattr(row, field.attname, now())
    names, values, parameters = ["id"], ["i"], []
    for field in fields:
        names.append(field.column)
        if field.attname in different:
            values.append(different[field.attname].replace("%", "%%"))
        else:
            values.append("%s")
            parameters.append(field.get_db_prep_save(getattr(row, field.attname), connection))
    columns = ", ".join(connection.ops.quote_name(name) for name in names)
    table = connection.ops.quote_name(row._meta.db_table)
    numbers = f"SELECT {first} UNION ALL SELECT i + {every} FROM n WHERE i + {every} <= {last}"  # noqa: S608
    chosen = f"INSERT INTO {table} ({columns}) SELECT {', '.join(values)} FROM n"  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(f"WITH RECURSIVE n(i) AS ({numbers}) {chosen}", parameters)
        if connection.vendor == "postgresql":
            cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [row._meta.db_table, last])


if __name__ == "__main__":
    main(*sys.argv[1:])
