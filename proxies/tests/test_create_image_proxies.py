"""``create_image_proxies``: what it says, what it does, and what an interruption leaves."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from functools import partial
from typing import Any

import pytest

from media_files.models import MediaFile
from media_files.tests.commands import Ended, run_command
from media_files.tests.fixtures import files_in, tree
from media_files.tests.pictures import encoded, jpeg, mp4
from proxies.models import Batch, Proxy, Quarantine
from proxies.services import ImageProxyService

run = partial(run_command, "create_image_proxies")

KEYS = {
    "id", "original_name", "sha256", "outcome", "reasons", "error", "message", "attempts", "width", "height",
    "format", "bytes", "proxy_width", "proxy_height", "proxy_format", "proxy_bytes", "proxy_path",
}  # fmt: skip
OUTCOMES = ("created", "replaced", "reused", "skipped", "failed", "quarantined")
BYTES = {"bytes_originals", "bytes_proxies", "bytes_disk_added", "bytes_not_sent"}


def outcomes(totals):
    """The counts that are not zero."""
    return {outcome: totals[outcome] for outcome in OUTCOMES if totals[outcome]}


# -- Dry runs, in this process -----------------------------------------------------------------


@pytest.fixture
def library(add, off):
    """A file for each outcome, by it."""
    rows = {
        "created": add(jpeg(), "large.jpg"),
        "skipped": add(encoded("PNG", 200, 100), "small.png"),
        "reused": add(jpeg(seed=2), "done.jpg"),
        "replaced": add(jpeg(seed=3), "stale.jpg"),
        "quarantined": add(jpeg(seed=4), "killer.jpg"),
        "video": add(mp4(), "clip.mp4"),
    }
    for name in ("reused", "replaced"):
        ImageProxyService().create_proxy(rows[name])
    Proxy.objects.filter(source=rows["replaced"]).update(recipe="of an older version")
    Quarantine.objects.create(
        source=rows["quarantined"], fingerprint=rows["quarantined"].fingerprint, message="It ended three."
    )
    return rows


@pytest.mark.django_db
class TestDryRun:
    @pytest.mark.parametrize(
        "options",
        [(), ("--dry-run",), ("--json",), ("--force",), ("--limit", 1), ("--queue",), ("--yes",)],
        ids=lambda options: " ".join(map(str, options)) or "no option",
    )
    def test_it_changes_nothing_at_all(self, library, everything, options):
        before = everything()
        assert run(*options).code == 0
        assert everything() == before

    def test_a_batch_that_was_left_is_not_gone_on_with(self, library, everything):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="paused")
        batch.items.create(file=library["created"])
        before = everything()
        *lines, last = run("--batch", batch.job_id, "--json").lines
        assert everything() == before
        assert [(line["id"], line["outcome"]) for line in lines] == [(library["created"].pk, "created")]
        assert (last["batch"], last["dry_run"]) == (batch.pk, True)

    def test_json_has_the_contracts_keys(self, library):
        code, out, err = run("--json")
        assert (code, err) == (0, "")
        *lines, last = (json.loads(line) for line in out.splitlines())
        assert all(set(line) == KEYS for line in lines)
        assert set(last) == {"totals", "batch", "dry_run"}
        assert {*OUTCOMES, *BYTES, "forecast"} <= set(last["totals"])
        assert set(last["totals"]["forecast"]) == {"sample", "low", "high"}
        assert (last["batch"], last["dry_run"]) == (None, True)

    def test_each_file_is_told_with_its_outcome(self, library):
        *lines, last = run("--json").lines
        by_id = {line["id"]: line for line in lines}
        images = {name: row for name, row in library.items() if name != "video"}
        assert {name: by_id[row.pk]["outcome"] for name, row in images.items()} == {
            name: name for name in images
        }
        assert outcomes(last["totals"]) == dict.fromkeys(images, 1)
        assert by_id[library["created"].pk]["reasons"] == ["shorter_side"]
        assert by_id[library["skipped"].pk]["reasons"] == ["not_needed"]
        held = by_id[library["quarantined"].pk]
        assert (held["error"], held["message"]) == ("quarantined", "It ended three.")
        assert by_id[library["created"].pk]["proxy_path"] is None
        row, proxy = library["reused"], Proxy.objects.get(source=library["reused"])
        assert by_id[row.pk] == {
            "id": row.pk,
            "original_name": "done.jpg",
            "sha256": row.sha256,
            "outcome": "reused",
            "reasons": ["shorter_side"],
            "error": "",
            "message": "",
            "attempts": 0,
            "width": 1000,
            "height": 900,
            "format": "JPEG",
            "bytes": row.bytes,
            "proxy_width": 996,
            "proxy_height": 896,
            "proxy_format": "JPEG",
            "proxy_bytes": proxy.bytes,
            "proxy_path": f"proxy_image/done_{row.pk}_nova.jpg",
        }

    def test_the_totals_add_up(self, library):
        totals = run("--json").lines[-1]["totals"]
        images = [row for name, row in library.items() if name != "video"]
        assert totals["bytes_originals"] == sum(row.bytes for row in images)
        # Two proxies stand, which is too few to learn from.
        assert totals["forecast"] == {"sample": 1, "low": None, "high": None}
        assert (totals["bytes_proxies"], totals["bytes_not_sent"]) == (None, None)

    def test_people_are_told_the_same_and_that_nothing_is_changed(self, library):
        out = run().out
        assert out.startswith("Dry run: nothing is changed. --no-dry-run does it.\n")
        for outcome in ("created", "replaced", "reused", "skipped", "quarantined"):
            assert f"{outcome:>12}: 1\n" in out
        assert "reasons: shorter_side 2" in out
        assert "No longer to be sent for an analysis: " in out
        assert "Added on disk by proxies: " in out

    @pytest.mark.parametrize(
        ("options", "expected"),
        [((), {"created": 1, "replaced": 1, "reused": 1, "skipped": 1, "quarantined": 1}),
         (("--force",), {"created": 1, "replaced": 2, "skipped": 1, "quarantined": 1})],
        ids=["plain", "--force"],
    )  # fmt: skip
    def test_force_would_replace_what_stands(self, library, options, expected):
        assert outcomes(run("--json", *options).lines[-1]["totals"]) == expected

    @pytest.mark.parametrize(("limit", "work"), [(1, 1), (2, 2), (3, 3), (7, 4)])
    def test_a_limit_counts_files_that_need_work_not_rows(self, add, off, limit, work):
        for seed in range(4):
            add(encoded("PNG", 20, 20, seed=seed))
            add(jpeg(seed=seed))
        totals = run("--json", "--limit", limit).lines[-1]["totals"]
        assert totals["created"] == work

    def test_rows_without_facts_are_told_as_such(self, folders, off):
        MediaFile.objects.bulk_create([MediaFile(file=f"in-place/{n}.jpg", managed=False) for n in range(3)])
        assert outcomes(run("--json").lines[-1]["totals"]) == {"created": 3}
        assert "nothing was read yet: 3" in run().out

    def test_an_empty_library(self, folders):
        (last,) = run("--json").lines
        assert outcomes(last["totals"]) == {}

    def test_no_file_is_opened(self, library, folders):
        for name in files_in(folders["originals"]):
            (folders["originals"] / name).unlink()
        assert run("--json").lines[-1]["totals"]["created"] == 1

    @pytest.mark.parametrize("many", [3, 30])
    def test_a_plan_costs_the_same_queries_however_many_files(
        self, add, off, many, django_assert_num_queries
    ):
        for seed in range(many):
            add(encoded("PNG", 20, 20, seed=seed))
        with django_assert_num_queries(6):
            run("--json")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "options",
    [
        ("--limit", "0"), ("--limit", "-1"), ("--limit", "x"), ("--workers", "0"), ("--profile", "moon"),
        ("--retry-failed",), ("--batch", "999"), ("--batch", "1", "--force"), ("--batch", "1", "--queue"),
        ("--batch", "1", "--limit", "5"), ("--unknown",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_bad_usage_is_2(folders, options):
    ended = run("--no-dry-run", *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


@pytest.mark.django_db
class TestOtherBatches:
    def test_one_of_the_workers_is_left_to_them(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="queue")
        ended = run("--batch", batch.pk, "--no-dry-run")
        assert ended.code == 2
        assert "the workers'" in ended.err

    def test_one_that_is_done_is_not_begun_again(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="completed")
        assert run("--batch", batch.pk, "--no-dry-run").code == 2

    def test_one_in_which_nothing_failed_has_nothing_to_retry(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="completed")
        ended = run("--batch", batch.pk, "--retry-failed", "--no-dry-run")
        assert ended.code == 2
        assert "Nothing" in ended.err


@pytest.mark.django_db(transaction=True)
def test_queue_hands_the_work_to_the_workers(library):
    ended = run("--no-dry-run", "--queue", "--json")
    batch = Batch.objects.get()
    (last,) = ended.lines
    assert (ended.code, last["batch"], last["dry_run"]) == (0, batch.pk, False)
    assert (batch.executor, batch.state) == ("queue", "running")
    waiting = batch.items.values_list("file_id", flat=True)
    assert set(waiting) == {library["created"].pk, library["replaced"].pk}


@pytest.mark.django_db
def test_queue_with_nothing_to_do_makes_no_batch(add, off):
    add(encoded("PNG", 20, 20))
    assert run("--no-dry-run", "--queue").out == "Nothing is to be done.\n"
    assert not Batch.objects.exists()


# -- Real runs, as processes -------------------------------------------------------------------

FILL = """
import io
from django.conf import settings
from media_files.models import MediaFile
from media_files.services import add_file
from media_files.tests.pictures import corrupt_jpeg, encoded, jpeg, mp4
settings.NOVAPROXY_ON_SAVE = "off"
from proxies.conf import conf
conf.cache_clear()
"""


class Run(Ended):
    """A finished process."""


def command(installation, *options: object) -> Run:
    done = installation.manage("create_image_proxies", "--no-dry-run", *map(str, options), check=False)
    return Run(done.returncode, done.stdout, done.stderr)


def proxies_of(installation) -> list[dict[str, Any]]:
    printed = installation.shell(
        "import json; from proxies.models import Proxy; rows = Proxy.objects.order_by('source_id');"
        "print(json.dumps(list(rows.values('id', 'source_id', 'sha256', 'image'))))"
    )
    rows: list[dict[str, Any]] = json.loads(printed)
    return rows


def test_a_run_makes_what_is_missing_and_a_second_one_reuses_it(installation):
    installation.shell(
        FILL
        + """
add_file(io.BytesIO(jpeg()), "large.jpg")
add_file(io.BytesIO(encoded("PNG", 200, 100)), "small.png")
add_file(io.BytesIO(mp4()), "clip.mp4")
add_file(io.BytesIO(corrupt_jpeg()), "bad.jpg")
add_file(io.BytesIO(jpeg(seed=3)), "good.jpg")
# No signal, and the facts are those that its file brings.
from django.core.files.base import ContentFile
MediaFile.objects.bulk_create([MediaFile(file=ContentFile(jpeg(seed=4), name="bulk.jpg"))])
"""
    )
    first = command(installation, "--json")
    *lines, last = first.lines
    assert (first.code, first.err) == (1, "")
    assert outcomes(last["totals"]) == {"created": 3, "skipped": 1, "failed": 1}
    by_name = {line["original_name"]: line for line in lines}
    assert set(by_name) == {"large.jpg", "small.png", "bad.jpg", "good.jpg", "bulk.jpg"}
    assert by_name["bad.jpg"]["error"] == "corrupt"
    assert (by_name["bad.jpg"]["attempts"], by_name["bad.jpg"]["proxy_path"]) == (1, None)
    assert (by_name["bulk.jpg"]["outcome"], by_name["bulk.jpg"]["proxy_height"]) == ("created", 896)
    made = [line for line in lines if line["outcome"] == "created"]
    assert last["totals"]["bytes_proxies"] == sum(line["proxy_bytes"] for line in made)
    assert last["totals"]["bytes_disk_added"] == last["totals"]["bytes_proxies"]
    sent = sum(line["bytes"] for line in made)
    assert last["totals"]["bytes_not_sent"] == sent - last["totals"]["bytes_proxies"]

    before = proxies_of(installation)
    second = command(installation)
    assert second.code == 1
    assert "      reused: 3\n" in second.out
    assert "      failed: 1\n" in second.out
    assert "Added on disk by proxies: 0 B" in second.out
    assert "  bad.jpg (" in second.out.splitlines()[-1]
    assert proxies_of(installation) == before

    # Only the one that failed is taken up again, and a batch that is done stays so without being asked.
    retried = command(installation, "--batch", last["batch"], "--retry-failed", "--json")
    assert outcomes(retried.lines[-1]["totals"]) == {"created": 3, "failed": 1}
    forced = command(installation, "--force", "--limit", "1", "--json")
    assert outcomes(forced.lines[-1]["totals"]) == {"replaced": 1}
    assert forced.code == 0


@pytest.fixture
def fifty(install):
    """An installation with fifty pictures, each of which takes about 50 ms."""
    installation = install()
    installation.shell(
        FILL
        + """
for seed in range(50):
    add_file(io.BytesIO(jpeg(1600, 1500, seed=seed)), f"{seed}.jpg")
"""
    )
    return installation


def _made(installation) -> int:
    return int(installation.shell("from proxies.models import Proxy; print(Proxy.objects.count())"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_run_goes_on_when_run_again(fifty, number):
    process = fifty.popen("create_image_proxies", "--no-dry-run", "--json", "--workers", "2")
    while not 2 <= _made(fifty) < 45:
        assert process.poll() is None
    os.killpg(process.pid, number)
    assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    before = {row["source_id"]: row for row in proxies_of(fifty)}
    # What came in meanwhile is made in the same run.
    fifty.shell(FILL + "add_file(io.BytesIO(jpeg(seed=99)), 'late.jpg')")
    again = command(fifty, "--json")
    assert again.code == 0
    totals = again.lines[-1]["totals"]
    assert outcomes(totals).keys() == {"created"}
    assert totals["created"] == 51
    after = {row["source_id"]: row for row in proxies_of(fifty)}
    kept = [source for source, row in before.items() if after[source]["id"] == row["id"]]
    assert len(kept) >= len(before) - 2  # at worst those in hand are made again
    stored = files_in(fifty.folder / "media" / "proxy_image")
    assert sorted(row["image"].partition("/")[2] for row in after.values()) == stored
    left = fifty.shell(
        "from proxies.models import Batch; print(list(Batch.objects.values_list('state', flat=True)))"
    )
    assert set(eval(left)) == {"completed"}  # noqa: S307 (printed by ourselves)


def test_a_reader_who_goes_away_ends_it_quietly(installation):
    installation.shell(
        FILL
        + """
from media_files.models import MediaFile
rows = [MediaFile(file=f"{n}.jpg", original_name="n" * 200, width=9, height=9, bytes=9, format="JPEG")
        for n in range(2000)]
MediaFile.objects.bulk_create(rows)
"""
    )
    process: Any = subprocess.Popen(
        [sys.executable, "manage.py", "create_image_proxies", "--json"],
        env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 130


def on_a_terminal(installation, answer: bytes, *options: str) -> tuple[int, str, str]:
    """Run the command with a terminal as its standard input and error; return code, output, and screen."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(ours, (24, 80))
    process = subprocess.Popen(
        [sys.executable, "manage.py", "create_image_proxies", "--no-dry-run", *options],
        env=installation.environment, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs, text=True,
    )  # fmt: skip
    os.close(theirs)
    os.write(ours, answer)
    out, _ = process.communicate(timeout=60)
    screen = b""
    try:
        while data := os.read(ours, 4096):
            screen += data
    except OSError:
        pass  # the other end has gone
    os.close(ours)
    return process.returncode, out, screen.decode()


TERMINAL = {
    "no": (b"n\n", (), 0, False),
    "nothing": (b"\n", (), 0, False),
    "the end": (b"\x04", (), 0, False),
    "yes": (b"y\n", (), 0, True),
    "--yes asks nothing": (b"", ("--yes",), 0, True),
    "no, with --json": (b"n\n", ("--json",), 0, False),
}


@pytest.fixture(scope="module")
def shared(installer):
    """An installation with one picture, for all of the table."""
    installation = installer.make("sqlite")
    installation.shell(FILL + "add_file(io.BytesIO(jpeg()), 'a.jpg')")
    yield installation
    installation.close()


@pytest.mark.parametrize("case", TERMINAL)
def test_a_terminal_is_asked_first(shared, case):
    installation = shared
    installation.shell("from proxies.models import Proxy; Proxy.objects.all().delete()")
    before = tree(installation.folder / "media")
    answer, options, expected, is_made = TERMINAL[case]
    code, out, screen = on_a_terminal(installation, answer, *options)
    assert code == expected
    assert bool(proxies_of(installation)) == is_made
    asked = "Make 1 image proxy now? [y/N]"
    if "--json" in options:
        assert (out, asked in screen) == ("", True)
    else:
        assert (asked in out) == ("--yes" not in options)
    if is_made:
        assert "1/1" in screen  # the bar
    else:
        assert tree(installation.folder / "media") == before
