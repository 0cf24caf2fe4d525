"""Find the ledger statements that scan a whole table. Runs inside an installation, on any database.

The tables are so large that the database's own planner is free to choose, and chooses the index.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Model, Q
from django.test.utils import CaptureQueriesContext

from media_files.models import MediaFile
from proxies.batches import lifecycle, runner
from proxies.batches.claim import Claim
from proxies.batches.progress import progress_of
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.conf import conf
from proxies.models import Batch, BatchItem, Proxy
from proxies.outcomes import Outcome
from proxies.planning import SAMPLE
from proxies.tests.crashing import photo

# Tables that grow with the library. The others have a handful of rows.
LARGE = ("proxies_batchitem", "proxies_proxy", "media_files_mediafile")
# Indexes that contain only queued or running items: scanning one reads nothing else.
PARTIAL = ("item_queued", "item_running")
# Look-ups by primary key, as either database words them.
OF_A_ROW = ("proxies_batchitem_pkey", "USING INTEGER PRIMARY KEY")
FILES = 100_000
WAITING = 1_000


def prepare() -> tuple[MediaFile, Batch]:
    """Create files with proxies, an older batch of finished items, and a batch with queued items.

    Returns the first file of the queued batch, the only file that has its bytes, and that batch.
    """
    file = MediaFile.objects.create(file=ContentFile(photo(1), "photo.jpg"))
    _multiply(file, FILES, file="n || '.jpg'", sha256="'sha' || n", fingerprint="'sha' || n")
    recipe = conf().profiles["nova"].recipe
    proxy = Proxy.objects.create(source=file, image="1.jpg", width=9, height=9, bytes=9, recipe=recipe)
    _multiply(
        proxy,
        FILES - WAITING,
        source_id=f"{file.pk} + n",
        image="n || '.jpg'",
        source_fingerprint="'sha' || n",
    )
    proxy.delete()
    older = Batch.objects.create(operation="image-proxy", state=Batch.State.COMPLETED)
    done = BatchItem(batch=older, file=file, state=BatchItem.State.DONE, outcome=Outcome.CREATED)
    done.save()
    _multiply(done, FILES, file_id=f"{file.pk} + n")
    newest = MediaFile.objects.filter(Q(pk=file.pk) | Q(pk__gt=file.pk + FILES - WAITING))
    batch = lifecycle.start("image-proxy", Selection(newest), {})
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return file, batch


def _multiply(row: Model, count: int, **changed: str) -> None:
    """Add ``count`` rows like this one; ``changed`` maps columns to SQL, where ``n`` is the row's number."""
    table, quote = row._meta.db_table, connection.ops.quote_name
    columns = [str(field.column) for field in row._meta.concrete_fields if not field.primary_key]
    values = [changed.get(column, f"{quote(table)}.{quote(column)}") for column in columns]
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < %s) "  # noqa: S608
            f"INSERT INTO {quote(table)} ({', '.join(map(quote, columns))}) "
            f"SELECT {', '.join(values)} FROM numbers, {quote(table)} WHERE id = %s",
            [count, row.pk],
        )


def scans(act: Callable[[], object]) -> list[str]:
    """Return the statements of ``act`` that scan one of the large tables."""
    with CaptureQueriesContext(connection) as captured:
        act()
    statements = [query["sql"] for query in captured.captured_queries]
    return list(_scanning(statements))


def _scanning(statements: list[str]) -> Iterator[str]:
    with connection.cursor() as cursor:
        for sql in statements:
            if not sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                continue
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {sql}")
            plan = [str(row[-1]) for row in cursor.fetchall()]
            yield from (f"{line.strip()}: {sql}" for line in plan if _is_scan(line, sql))


def _is_scan(line: str, sql: str) -> bool:
    if connection.vendor == "postgresql":
        return any(f"Seq Scan on {table} " in line for table in LARGE)
    if any(f"USING INDEX {partial}" in line for partial in PARTIAL):
        return False
    scanned = re.match(r"SCAN (\w+)", line)
    # Reads from the newest row until its sample is full, which SQLite also calls a scan.
    if scanned is None or f'"id" DESC LIMIT {SAMPLE}' in sql:
        return False
    # The name as the statement has it: a subquery renames its tables.
    name = scanned[1]
    return name in LARGE or any(re.search(rf'"{table}" {name}\b', sql) for table in LARGE)


def stray_claims() -> dict[str, list[str]]:
    """Return the indexes other than their own that claiming and settling use, in a ledger just filled.

    The statements are explained when a planner is easily misled: while its statistics describe an empty
    ledger,
    and when the first items of a large batch are done, so that a scan by primary key reads all of those
    again.
    """
    file = MediaFile.objects.create(file=ContentFile(photo(1), "photo.jpg"))
    _multiply(file, FILES, file="n || '.jpg'", sha256="'sha' || n", fingerprint="'sha' || n")
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ALTER TABLE proxies_batchitem SET (autovacuum_enabled = false)")
        lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
        Batch.objects.all().delete()
        cursor.execute("ANALYZE")
    batch = lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {})
    first = batch.items.earliest("id").pk
    found = {"just started": _stray(batch)}
    for percent in (5, 20, 50):
        done = batch.items.filter(pk__lt=first + FILES * percent // 100, state=BatchItem.State.QUEUED)
        done.update(state=BatchItem.State.DONE, outcome=Outcome.CREATED)
        found[f"{percent} % done, statistics from before"] = _stray(batch)
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE proxies_batchitem")
        found[f"{percent} % done"] = _stray(batch)
    return found


def _stray(batch: Batch) -> list[str]:
    def claim_and_settle() -> None:
        claim = Claim(batch, lambda: False)
        item = next(iter(claim))
        claim.charge(item)
        claim.put_back_the_rest()
        runner.due_batch()

    with CaptureQueriesContext(connection) as captured:
        claim_and_settle()
    explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
    stray = []
    for sql in [query["sql"] for query in captured.captured_queries]:
        if not re.match("SELECT|UPDATE", sql) or "proxies_batchitem" not in sql:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"{explain} {sql}")
            plan = " ".join(str(row[-1]) for row in cursor.fetchall())
        own = ("item_queued",) if '"available_at" <=' in sql else OF_A_ROW
        if not any(index in plan for index in own):
            stray.append(f"{plan}: {sql}")
    return stray


def all_scans() -> dict[str, list[str]]:
    """Return the scans of each operation that workers, pages and the sweeper repeat."""
    file, batch = prepare()
    some = Selection(MediaFile.objects.all(), ids=range(file.pk, file.pk + FILES, FILES // 100))
    # A plan over all files reads all of them.
    found = {"plan": scans(lambda: lifecycle.plan("image-proxy", some, {}))}
    found["start"] = scans(lambda: lifecycle.cancel(lifecycle.start("image-proxy", some, {})))
    found["due"] = scans(runner.due_batch)
    claim = Claim(batch, lambda: False)
    items = iter(claim)
    item: list[BatchItem] = []
    found["claim"] = scans(lambda: item.append(next(items)))
    found["charge"] = scans(lambda: claim.charge(item[0]))
    found["put back"] = scans(claim.put_back_the_rest)
    found["make"] = scans(lambda: runner.perform(Claim(batch, lambda: True)))
    assert Proxy.objects.filter(source=file).exists()
    found["finish"] = scans(lambda: lifecycle.finish_if_done(batch))
    found["count"] = scans(lambda: progress_of(batch))
    found["sweep"] = scans(sweep)
    by_outcome = batch.items.filter(state="done", outcome="failed").order_by("-id")[:100]
    found["list"] = scans(lambda: list(by_outcome))
    found["history"] = scans(lambda: list(BatchItem.objects.filter(file=file.pk)))
    return found
