"""Lease holders on other machines and in other containers are alive while their heartbeat is recent."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import DatabaseError, connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from conftest import POSTGRES, missing
from novaproxy_site.tests.installation import ROOT, Installation, wait_for
from proxies.models import Heartbeat
from proxies.processes import heartbeat
from proxies.processes.heartbeat import INTERVAL
from proxies.processes.liveness import SILENCE, dead_among, is_alive, is_dead, liveness, this_holder
from proxies.queue.supervisor_report import SECONDS_BETWEEN_LOOKS

ELSEWHERE = "a-host:0123456789abcdef:7:100"


@pytest.mark.django_db
def test_a_remote_holder_is_alive_until_its_heartbeat_is_too_old():
    assert liveness([ELSEWHERE]) == {ELSEWHERE: None}, "no heartbeat was ever received"
    Heartbeat.objects.create(process=ELSEWHERE, beat_at=Now() - SILENCE + timedelta(seconds=5))
    assert is_alive(ELSEWHERE)
    assert not is_dead(ELSEWHERE)
    Heartbeat.objects.update(beat_at=Now() - SILENCE - timedelta(seconds=1))
    assert is_dead(ELSEWHERE)
    assert not is_alive(ELSEWHERE)


@pytest.mark.django_db
def test_the_heartbeat_is_ignored_for_processes_in_our_pid_namespace():
    Heartbeat.objects.create(process=this_holder(), beat_at=Now() - timedelta(hours=1))
    dead = this_holder() + "1"
    Heartbeat.objects.create(process=dead, beat_at=Now())
    assert liveness([this_holder(), dead]) == {this_holder(): True, dead: False}


@pytest.mark.django_db
def test_any_number_of_holders_takes_one_statement():
    many = [f"a-host:0123456789abcdef:{pid}:100" for pid in range(1, 50)]
    for holder in many[:10]:
        Heartbeat.objects.create(process=holder, beat_at=Now() - timedelta(hours=1))
    with CaptureQueriesContext(connection) as captured:
        assert dead_among([*many, this_holder(), "", "old-host:1:1.00"]) == set(many[:10])
    assert len(captured) == 1


@pytest.mark.django_db
def test_a_heartbeat_uses_the_database_clock_and_one_row():
    heartbeat.beat()
    Heartbeat.objects.update(beat_at=F("beat_at") - timedelta(hours=1))
    heartbeat.beat()
    (row,) = Heartbeat.objects.all()
    assert row.process == this_holder()
    assert Heartbeat.objects.filter(beat_at__gt=Now() - timedelta(seconds=10)).exists()


@pytest.mark.django_db
def test_a_failed_release_is_repeated_when_the_database_is_back():
    answers = iter([DatabaseError("gone"), DatabaseError("still gone"), None])
    given_back: list[bool] = []

    def give_back() -> None:
        if error := next(answers):
            raise error
        given_back.append(True)

    with pytest.raises(DatabaseError, match="gone"):
        heartbeat.surely(give_back)
    with pytest.raises(DatabaseError, match="still gone"):
        heartbeat.beat()
    heartbeat.beat()
    heartbeat.beat()
    assert given_back == [True]


def test_leases_of_a_vanished_machine_are_free_within_two_minutes():
    assert SILENCE.total_seconds() >= 5 * INTERVAL, "one slow write must not look like a death"
    assert SILENCE.total_seconds() + INTERVAL + SECONDS_BETWEEN_LOOKS <= 120


def test_no_process_forks_during_a_heartbeat():
    """Two processes that share a connection receive each other's rows."""
    assert heartbeat._beating.acquire(timeout=5)
    forked = threading.Event()

    def fork() -> None:
        pid = os.fork()
        if not pid:
            os._exit(0 if heartbeat._beating.acquire(timeout=5) else 1)
        assert os.waitpid(pid, 0)[1] == 0
        forked.set()

    thread = threading.Thread(target=fork)
    thread.start()
    assert not forked.wait(0.2)
    heartbeat._beating.release()
    assert forked.wait(20)
    thread.join()


# -- Real processes ----------------------------------------------------------------------------

PREPARE = """
    from django.core.files.base import ContentFile
    from media_files.models import MediaFile
    from proxies.batches import lifecycle
    from proxies.batches.selection import Selection
    from proxies.tests.crashing import photo
    MediaFile.objects.create(file=ContentFile(photo(1), "photo.jpg"))
    print(MediaFile.objects.count())
"""
HOLD = """
    import os, sys, time
    import django
    django.setup()
    from proxies.processes import leases
    from proxies.batches.claim import Claim
    from proxies.batches import worker_slots
    from proxies.models import Batch, WorkerSlot
    slot = WorkerSlot.objects.filter(state="rung").first()
    assert worker_slots.enter(slot.number, slot.generation)
    claim = Claim(Batch.objects.get(), lambda: False)
    item = next(iter(claim))
    assert claim.charge(item)
    assert leases.acquire(item.file_id, "nova", stem="proxy_image/photo_1_nova")
    print(os.getpid(), flush=True)
    assert sys.stdin.readline()
    print(claim.charge(item), flush=True)
"""
LOOK = """
    from proxies.batches.sweeper import sweep
    from proxies.models import Batch, BatchItem, WorkerSlot, ProxyLease
    sweep()
    item = BatchItem.objects.get(batch__standing="uploads")
    running = WorkerSlot.objects.filter(state="running")
    print(item.state, item.attempts, running.count(), ProxyLease.objects.count())
"""
SILENCE_ALL = """
    from datetime import timedelta
    from django.db.models.functions import Now
    from proxies.models import Heartbeat
    from proxies.processes.identity import this_process
    Heartbeat.objects.exclude(process=this_process()).update(beat_at=Now() - timedelta(seconds=61))
"""


@contextmanager
def _in_a_pid_namespace(installation: Installation, source: str) -> Iterator[subprocess.Popen[str]]:
    """Run Python as the first process of a new PID namespace, under this host's name."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True).returncode:  # noqa: PLW1510
        missing("PID namespaces need unshare (util-linux) and the right to make them")
    with subprocess.Popen(
        [*unshare, sys.executable, "-c", textwrap.dedent(source)],
        env=installation.environment | {"DJANGO_SETTINGS_MODULE": "novaproxy_site.settings"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _beats(installation: Installation) -> int:
    return int(installation.shell("from proxies.models import Heartbeat; print(Heartbeat.objects.count())"))


@pytest.mark.every_backend
def test_two_containers_with_one_host_name_leave_each_other_alone(installation: Installation) -> None:
    installation.shell(PREPARE)
    with _in_a_pid_namespace(installation, HOLD) as container:
        assert container.stdout is not None
        assert container.stdin is not None
        assert container.stdout.readline() == "1\n", (
            "its pid must equal that of a process in another container"
        )
        wait_for(lambda: _beats(installation) > 0, what="its heartbeat")
        with _in_a_pid_namespace(
            installation, "import django; django.setup()\n" + textwrap.dedent(LOOK)
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "running 1 1 1\n"
        assert installation.shell(LOOK) == "running 1 1 1\n"
        container.stdin.write("\n")
        container.stdin.flush()
        assert container.stdout.readline() == "True\n", "it must still hold its lease"


@pytest.mark.every_backend
def test_items_of_a_vanished_machine_are_requeued_once_it_is_silent(installation: Installation) -> None:
    installation.shell(PREPARE)
    with _in_a_pid_namespace(installation, HOLD) as machine:
        assert machine.stdout is not None
        machine.stdout.readline()
        wait_for(lambda: _beats(installation) > 0, what="its heartbeat")
    assert installation.shell(LOOK) == "running 1 1 1\n", "a process that has just fallen silent may be slow"
    installation.shell(SILENCE_ALL)
    # The attempt counts: the file may have caused the machine's death.
    assert installation.shell(LOOK) == "queued 1 0 0\n"


def test_a_suspended_process_that_was_taken_for_dead_changes_nothing(
    installation: Installation,
) -> None:
    installation.shell(PREPARE)
    with _in_a_pid_namespace(installation, HOLD) as machine:
        assert machine.stdout is not None
        assert machine.stdin is not None
        machine.stdout.readline()
        wait_for(lambda: _beats(installation) > 0, what="its heartbeat")
        child = int(subprocess.check_output(["pgrep", "-P", str(machine.pid)], text=True))
        os.kill(child, signal.SIGSTOP)
        installation.shell(SILENCE_ALL)
        assert installation.shell(LOOK) == "queued 1 0 0\n"
        machine.stdin.write("\n")
        machine.stdin.flush()
        os.kill(child, signal.SIGCONT)
        assert machine.stdout.readline() == "False\n", "it must have lost its lease"
    assert installation.shell(LOOK) == "queued 1 0 0\n"


def test_the_heartbeat_runs_beside_the_main_thread(installation: Installation) -> None:
    beats = installation.shell("""
        import time
        from proxies.processes.liveness import this_holder
        from proxies.models import Heartbeat
        this_holder()
        beats, deadline = set(), time.monotonic() + 60
        while len(beats) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
            beats |= set(Heartbeat.objects.values_list("beat_at", flat=True))
        print(len(beats), Heartbeat.objects.count())
    """)
    assert beats == "2 1\n"


@pytest.mark.parametrize("installation", [POSTGRES], indirect=True)
def test_a_process_releases_its_items_after_losing_its_database_connection(
    installation: Installation,
) -> None:
    installation.shell(PREPARE)
    after = installation.shell("""
        import time
        from contextlib import suppress
        from django.db import Error, connection
        from proxies.processes import heartbeat
        from proxies.batches.claim import Claim
        from proxies.models import Batch, BatchItem
        claim = Claim(Batch.objects.get(), lambda: False)
        assert claim.charge(next(iter(claim)))
        with suppress(Error), connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        try:
            heartbeat.surely(claim.put_back_the_rest)
        except Error:
            connection.close()
        deadline = time.monotonic() + 60
        while not BatchItem.objects.filter(state="queued").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        item = BatchItem.objects.get()
        print(item.state, item.attempts, item.lease_token)
    """)
    assert after == "queued 0 None\n"
