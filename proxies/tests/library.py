"""A library of small pictures in an installation, batches over it, and what must hold of them at the end."""

from __future__ import annotations

import json
import time
from typing import Any

from novaproxy_site.tests.installation import Installation
from proxies.tests.driving import RunningWorker


def fill(installation: Installation, count: int) -> None:
    """Give the installation so many originals, and no proxies."""
    installation.shell(f"""
        from django.core.files.base import ContentFile
        from django.test import override_settings
        from media_files.models import MediaFile
        from proxies.tests.crashing import photo
        with override_settings(NOVAPROXY_ON_SAVE="off"):
            for seed in range({count}):
                MediaFile.objects.create(file=ContentFile(photo(seed), f"{{seed}}.jpg"))
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
    """The items of a batch, as they stand."""
    printed = installation.shell(f"""
        import json
        from proxies.models import BatchItem
        fields = ("file_id", "state", "outcome", "error", "attempts", "lease_holder")
        print(json.dumps(list(BatchItem.objects.filter(batch={batch}).order_by("id").values(*fields))))
    """)
    found: list[dict[str, Any]] = json.loads(printed)
    return found


def sweep(installation: Installation) -> None:
    """What the schedule does each minute."""
    installation.shell("from proxies.batches.sweeper import sweep; sweep()")


def let_a_while_pass(installation: Installation) -> None:
    """As if a quarter of an hour had gone by: leases of those who live and hold nothing more have run out,
    and rings that nobody answered count as lost."""
    installation.shell("""
        from datetime import timedelta
        from django.db.models import F
        from proxies.models import BatchItem, Lane, ProxyLease
        while_ = timedelta(minutes=15)
        BatchItem.objects.filter(state="running").update(lease_until=F("lease_until") - while_)
        ProxyLease.objects.update(until=F("until") - while_)
        Lane.objects.update(changed_at=F("changed_at") - while_)
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
    """Until so many workers have said that they run: from then on there are lanes for all of them."""
    source = "from proxies.models import WorkerState as W; print(W.objects.filter(state='running').count())"
    worker.wait_for(lambda: installation.shell(source) == f"{count}\n", what=f"{count} workers to be running")


def done(installation: Installation, batch: int) -> int:
    return sum(item["state"] == "done" for item in items(installation, batch))


def wait_until_done(
    installation: Installation, batch: int, *, seconds: float = 90, sweeping: bool = False
) -> None:
    """Until the batch is completed, and what the sweeper had made again beside it.

    With ``sweeping``, the schedule's minute passes each second.
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
    """Until some items are done, and others are not."""
    worker.wait_for(lambda: done(installation, batch) >= count, seconds=60, what=f"{count} items")


def disorder(installation: Installation, batch: int) -> list[str]:
    """All that must not be once a batch is completed: rows and files that disagree, things left over."""
    printed = installation.shell(f"""
        import json
        from proxies.models import Batch
        from proxies.tests.crashing import problems
        print(json.dumps(list(problems(Batch.objects.get(pk={batch})))))
    """)
    found: list[str] = json.loads(printed)
    return found
