"""A library that version 0.1.0 left with work in its queue is upgraded, and the work gets done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from conftest import POSTGRES, SQLITE
from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.servers import PostgresServer
from proxies.tests.driving import RunningWorker

# The last migration of each app in 0.1.0; an app of somebody else's has all of its own. django_q comes first,
# because the schedule is created after each `migrate`.
LAST_MIGRATIONS = {
    "django_q": "",
    "admin": "",
    "authtoken": "",
    "sessions": "",
    "auth": "",
    "media_files": "0001",
    "proxies": "0005",
    "analysis": "0003",
}

# Fills the tables as 0.1.0 did: with its models, and with the names that its code had.
FILL = """
    import hashlib, json, sys, types
    from datetime import timedelta
    from pathlib import Path
    from unittest import mock

    from django.conf import settings
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader
    from django.utils.timezone import now
    from django_q.models import OrmQ, Schedule
    from django_q.signing import SignedPackage

    from proxies.tests.crashing import photo

    state = MigrationLoader(connection).project_state(
        [("media_files", "0001_initial"), ("proxies", "0005_claim_by_when_due"),
         ("auth", "0012_alter_user_first_name_max_length")]
    )
    model = state.apps.get_model
    content = photo(1)
    sha256 = hashlib.sha256(content).hexdigest()
    name = f"original/ab/{'ab' * 16}/harbour.jpeg"
    path = Path(settings.STORAGES["originals"]["OPTIONS"]["location"]) / name
    path.parent.mkdir(parents=True)
    path.write_bytes(content)

    user = model("auth", "User").objects.create(username="ada", password="!")
    file = model("media_files", "MediaFile").objects.create(
        file=name, original_name="harbour.jpg", format="JPEG", content_type="image/jpeg",
        bytes=len(content), sha256=sha256, fingerprint=sha256, content_key=sha256,
        width=1000, height=920, mode="RGB", uploader=user,
    )
    uploads = model("proxies", "Batch").objects.create(
        operation="image-proxy", standing="uploads", started_at=now(), created_by=user
    )
    item = model("proxies", "BatchItem").objects.create(batch=uploads, file=file, reasons=["shorter_side"])
    model("proxies", "Lane").objects.create(number=0, generation=7, state="rung", changed_at=now())

    Schedule.objects.all().delete()  # this version's own, created after `migrate`
    schedule = Schedule.objects.create(
        name="sweep", func="proxies.tasks.sweep", schedule_type="I", minutes=1,
        next_run=now() - timedelta(seconds=1),
    )

    # The job names its function by module. A stand-in takes that place while the job is pickled, so that the
    # job is the same wherever this version keeps the function.
    old_tasks = types.ModuleType("proxies.tasks")
    exec("def run_slice(lane, generation): raise NotImplementedError", old_tasks.__dict__)
    job = {
        "id": "0123456789abcdef0123456789abcdef", "name": "old-job", "func": old_tasks.run_slice,
        "args": (0, 7), "group": "slice", "ack_failure": True, "kwargs": {}, "started": now(),
    }
    with mock.patch.dict(sys.modules, {"proxies.tasks": old_tasks}):
        OrmQ.objects.create(key="novaproxy", payload=SignedPackage.dumps(job), lock=now())
    print(json.dumps({"file": file.pk, "item": item.pk, "schedule": schedule.pk, "job": job["id"]}))
"""

FOUND = """
    import json
    from django.utils.timezone import now
    from django_q.models import Failure, OrmQ, Schedule, Success
    from proxies.models import BatchItem, Proxy

    item = BatchItem.objects.get()
    proxy = Proxy.objects.filter(source=item.file_id).first()
    print(json.dumps({
        "item": [item.pk, item.state, item.outcome, item.error],
        "proxy": proxy and [proxy.width, proxy.height, proxy.image.size == proxy.bytes],
        "schedules": list(Schedule.objects.values_list("pk", "name", "func")),
        "schedule is due later": all(schedule.next_run > now() for schedule in Schedule.objects.all()),
        "successes": list(Success.objects.values_list("id", flat=True)),
        "sweeps": Success.objects.filter(func="proxies.tasks.sweep").count(),
        "failures": list(Failure.objects.values_list("func", "result")),
        "queued": OrmQ.objects.count(),
    }, default=str))
"""


@pytest.fixture(params=[SQLITE, POSTGRES])
def old_installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    """An installation with the tables of 0.1.0."""
    environment = {}
    if request.param != SQLITE:
        server: PostgresServer = request.getfixturevalue("postgres_server")
        environment["DATABASE_URL"] = server.url(server.make_database())
    with ExitStack() as stack:
        installation = Installation(tmp_path, **environment)
        stack.callback(installation.close)
        for app, migration in LAST_MIGRATIONS.items():
            installation.manage("migrate", "--verbosity=0", app, *filter(None, [migration]))
        yield installation


@pytest.fixture
def start_worker() -> Iterator[Callable[[Installation], RunningWorker]]:
    """A function that starts a worker, which is gone after the test."""
    with ExitStack() as stack:

        def start(installation: Installation) -> RunningWorker:
            worker = RunningWorker(installation)
            stack.callback(worker.close)
            return worker

        yield start


def test_work_that_0_1_0_queued_is_done_after_the_upgrade(
    old_installation: Installation, start_worker: Callable[[Installation], RunningWorker]
) -> None:
    old: dict[str, Any] = json.loads(old_installation.shell(FILL))

    def found() -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(old_installation.shell(FOUND))
        return answer

    old_installation.manage("migrate", "--verbosity=0")
    before = found()
    assert before["item"] == [old["item"], "queued", "", ""]
    assert before["queued"] == 1

    worker = start_worker(old_installation)

    def is_settled() -> bool:
        now = found()
        everything = now["item"][1] == "done" and old["job"] in now["successes"] and now["sweeps"]
        return bool(now["failures"] or (everything and not now["queued"]))

    worker.wait_for(is_settled, what="the old job, its item and the old schedule's sweep")
    after = found()
    assert after["failures"] == []
    assert after["item"] == [old["item"], "done", "created", ""]
    assert after["proxy"] == [974, 896, True]
    assert after["schedules"] == [[old["schedule"], "sweep", "proxies.tasks.sweep"]]
    assert after["schedule is due later"]
