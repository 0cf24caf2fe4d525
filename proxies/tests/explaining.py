"""Which statements of the ledger read a whole table. Runs inside an installation, on whatever database."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from media_files.models import MediaFile
from proxies.batches import lifecycle, slices
from proxies.batches.progress import progress_of
from proxies.batches.selection import Selection
from proxies.batches.sweeper import sweep
from proxies.batches.work import Work
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome
from proxies.tests.crashing import photo

# Those that grow with the library. The others have a handful of rows.
LARGE = ("proxies_batchitem", "proxies_proxy", "media_files_mediafile")
# Indexes of what waits or is in hand alone: to read one from end to end is to read that and no more.
PARTIAL = ("item_queued", "item_running")
SETTLED = 30_000


def prepare() -> Batch:
    """A ledger in which a scan shows: many items done in an older batch, a few that wait in a new one."""
    file = MediaFile.objects.create(file=ContentFile(photo(1), "photo.jpg"))
    others = [MediaFile(file=f"{number}.jpg", width=10, height=10, bytes=9) for number in range(5000)]
    MediaFile.objects.bulk_create(others)
    older = Batch.objects.create(operation="image-proxy", state=Batch.State.COMPLETED)
    done = [
        BatchItem(batch=older, file_id=10_000 + number, state=BatchItem.State.DONE, outcome=Outcome.CREATED)
        for number in range(SETTLED)
    ]
    BatchItem.objects.bulk_create(done, batch_size=5000)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    return lifecycle.start("image-proxy", Selection(MediaFile.objects.filter(pk=file.pk)), {})


def scans(act: Callable[[], object]) -> list[str]:
    """The statements of ``act`` that read one of the large tables from end to end."""
    with CaptureQueriesContext(
        connection,
    ) as captured:
        act()
    statements = [query["sql"] for query in captured.captured_queries]
    return list(_scanning(statements))


def _scanning(statements: list[str]) -> Iterator[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # A table of a page or two is read from end to end because that is cheapest: what counts is
            # whether an index could serve.
            cursor.execute("SET enable_seqscan = off")
        for sql in statements:
            if not sql.lstrip().upper().startswith(("SELECT", "UPDATE", "DELETE")):
                continue
            explain = "EXPLAIN" if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN"
            cursor.execute(f"{explain} {sql}")
            plan = [str(row[-1]) for row in cursor.fetchall()]
            yield from (f"{line.strip()}: {sql}" for line in plan if _is_scan(line))


def _is_scan(line: str) -> bool:
    if connection.vendor == "postgresql":
        return any(f"Seq Scan on {table} " in line for table in LARGE)
    if any(f"USING INDEX {partial}" in line for partial in PARTIAL):
        return False
    return any(f"{line} ".startswith(f"SCAN {table} ") for table in LARGE)


def all_scans() -> dict[str, list[str]]:
    """By what is done: each thing that workers, pages and the sweeper do again and again."""
    batch = prepare()
    found = {"due": scans(slices.due_batch)}
    work = Work(batch, lambda: False)
    items = iter(work)
    found["claim"] = scans(lambda: next(items))
    item = batch.items.get()
    found["charge"] = scans(lambda: work.charge(item))
    found["put back"] = scans(work.put_back_the_rest)
    found["make"] = scans(lambda: slices.perform(Work(batch, lambda: False)))
    found["finish"] = scans(lambda: lifecycle.finish_if_done(batch))
    found["count"] = scans(lambda: progress_of(batch))
    found["sweep"] = scans(sweep)
    by_outcome = batch.items.filter(state="done", outcome="failed").order_by("-id")[:100]
    found["list"] = scans(lambda: list(by_outcome))
    found["history"] = scans(lambda: list(BatchItem.objects.filter(file=item.file_id)))
    return found
