"""A library of small images in an installation, batches over it, and the checks at the end."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import psutil

from novaproxy_site.tests.installation import Installation, wait_for
from proxies.tests.driving import RunningWorker

MADE = {"created", "reused", "replaced"}


def fill(installation: Installation, count: int, *, kind: str = "photo") -> None:
    """Add ``count`` originals without proxies to the installation: ``photo`` or small ``scan`` images."""
    installation.shell(f"""
        from django.core.files.base import ContentFile
        from django.test import override_settings
        from media_files.models import MediaFile
        from proxies.tests.crashing import {kind}
        with override_settings(NOVAPROXY_ON_SAVE="off"):
            for seed in range({count}):
                MediaFile.objects.create(file=ContentFile({kind}(seed), f"{{seed}}.jpg"))
    """)


def start(installation: Installation, **parameters: Any) -> int:
    """Start a batch over all files for the workers; return its id."""
    printed = installation.shell(f"""
        from media_files.models import MediaFile
        from proxies.batches import lifecycle
        from proxies.batches.selection import Selection
        print(lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {parameters!r}).pk)
    """)
    return int(printed)


def items(installation: Installation, batch: int) -> list[dict[str, Any]]:
    """Return the current items of a batch."""
    printed = installation.shell(f"""
        import json
        from proxies.models import BatchItem
        fields = ("id", "file_id", "state", "outcome", "error", "attempts", "transient_failures")
        found = BatchItem.objects.filter(batch={batch}).order_by("id").values(*fields, "lease_holder")
        print(json.dumps(list(found)))
    """)
    found: list[dict[str, Any]] = json.loads(printed)
    return found


def sweep(installation: Installation) -> None:
    """Run one sweep, as the schedule does each minute."""
    installation.shell("from proxies.batches.sweeper import sweep; sweep()")


def let_a_while_pass(installation: Installation) -> None:
    """Simulate 15 minutes, after which live processes' leases have expired and notifications are lost."""
    installation.shell("""
        from datetime import timedelta
        from django.db.models import F
        from proxies.models import BatchItem, WorkerSlot, ProxyLease
        while_ = timedelta(minutes=15)
        BatchItem.objects.filter(state="running").update(lease_until=F("lease_until") - while_)
        ProxyLease.objects.update(until=F("until") - while_)
        WorkerSlot.objects.update(changed_at=F("changed_at") - while_)
    """)


def let_a_minute_pass(installation: Installation) -> None:
    """Simulate a minute, by which unanswered notifications count as lost, and sweep."""
    installation.shell("""
        from datetime import timedelta
        from django.db.models import F
        from proxies.models import WorkerSlot
        WorkerSlot.objects.filter(state="rung").update(changed_at=F("changed_at") - timedelta(minutes=1))
    """)
    sweep(installation)


def end_delays(installation: Installation, batch: int, ids: Iterable[int]) -> None:
    """Move these items, if queued, to the front of the queue."""
    installation.shell(f"""
        from datetime import timedelta
        from django.utils.timezone import now
        from proxies.models import BatchItem
        waiting = BatchItem.objects.filter(batch={batch}, pk__in={list(ids)!r}, state="queued")
        waiting.update(available_at=now() - timedelta(days=1))
    """)


def state(installation: Installation, batch: int) -> str:
    return installation.shell(
        f"from proxies.models import Batch; print(Batch.objects.get(pk={batch}).state, end='')"
    )


def uploads_wait(installation: Installation) -> bool:
    printed = installation.shell(
        "from proxies.models import BatchItem; print(BatchItem.objects.unfinished().exists(), end='')"
    )
    return printed == "True"


def wait_for_workers(installation: Installation, worker: RunningWorker, count: int) -> None:
    """Wait until ``count`` workers have registered: from then on there are slots for all of them."""
    source = "from proxies.models import WorkerState as W; print(W.objects.filter(state='running').count())"
    worker.wait_for(lambda: installation.shell(source) == f"{count}\n", what=f"{count} workers to be running")


def done(installation: Installation, batch: int) -> int:
    return sum(item["state"] == "done" for item in items(installation, batch))


def wait_until_done(
    installation: Installation, batch: int, *, seconds: float = 180, sweeping: bool = False
) -> None:
    """Wait until the batch is completed, and everything that the sweeper had made again.

    With ``sweeping``, sweep each second instead of each minute.
    """
    deadline = time.monotonic() + seconds
    while state(installation, batch) != "completed" or uploads_wait(installation):
        if time.monotonic() > deadline:
            open_items = [item for item in items(installation, batch) if item["state"] != "done"]
            raise AssertionError(f"Waited {seconds:g} s for batch {batch}; open: {open_items[:5]}")
        time.sleep(1 if sweeping else 0.2)
        if sweeping:
            sweep(installation)


def wait_for_first(installation: Installation, batch: int, worker: RunningWorker, count: int = 5) -> None:
    """Wait until ``count`` items are done, and others are not."""
    worker.wait_for(lambda: done(installation, batch) >= count, seconds=60, what=f"{count} items")


def in_hand(installation: Installation, batch: int) -> set[int]:
    """Return the items that some process has claimed and not finished."""
    return {item["id"] for item in items(installation, batch) if item["state"] == "running"}


def lanes_at_work(installation: Installation) -> int:
    """Return how many ticks are running."""
    source = (
        "from proxies.models import WorkerSlot; print(WorkerSlot.objects.filter(state='running').count())"
    )
    return int(installation.shell(source))


def are_done(installation: Installation, batch: int, ids: Iterable[int]) -> bool:
    """Return whether all of these items are done."""
    return set(ids) <= {item["id"] for item in items(installation, batch) if item["state"] == "done"}


def outcomes(installation: Installation, batch: int) -> Counter[str]:
    return Counter(item["outcome"] for item in items(installation, batch))


def others(installation: Installation) -> list[psutil.Process]:
    """Return the installation's processes, except the one that runs the test's queries."""
    console = int(installation.shell("import os; print(os.getpid())"))
    return [process for process in installation.processes() if process.pid != console]


def assert_in_order(installation: Installation, batch: int, *workers: RunningWorker) -> None:
    """Assert that nothing is wrong after one sweep, a while later: how every test of an outage ends.

    Every item is final, every row's SHA-256 matches its file, no file lacks a row, and no temporary file,
    lease,
    removal note or process is left. Running ``workers`` are stopped first.
    """
    for worker in workers:
        if worker.supervisor.poll() is None:
            worker.stop()
    # Processes that the kernel kills with their parent take a moment to end.
    wait_for(lambda: not others(installation), seconds=60, what="no process to be left")
    installation.shell("from proxies.tests.crashing import age_temporaries; age_temporaries()")
    sweep(installation)
    printed = installation.shell(f"""
        import json
        from proxies.models import Batch
        from proxies.tests.crashing import problems
        print(json.dumps(list(problems(Batch.objects.get(pk={batch})))))
    """)
    assert json.loads(printed) == []
