"""``create_image_proxies`` as a process: what it creates, and what an interruption leaves behind."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from typing import Any

import pytest

from media_files.tests.commands import Ended
from media_files.tests.fixtures import files_in, tree
from proxies.tests.totals import outcomes

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


def test_a_run_creates_missing_proxies_and_a_second_run_reuses_them(installation):
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
    assert "Extra disk space: 0 B" in second.out
    assert "  bad.jpg (" in second.out.splitlines()[-1]
    assert proxies_of(installation) == before

    # Only the failed item is retried, and a completed batch is not reopened unless asked.
    retried = command(installation, "--batch", last["batch"], "--retry-failed", "--json")
    assert outcomes(retried.lines[-1]["totals"]) == {"created": 3, "failed": 1}
    forced = command(installation, "--force", "--limit", "1", "--json")
    assert outcomes(forced.lines[-1]["totals"]) == {"replaced": 1}
    assert forced.code == 0


@pytest.fixture
def fifty(install):
    """An installation with fifty images, each of which takes about 50 ms."""
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
def test_an_interrupted_run_resumes_when_run_again(fifty, number):
    process = fifty.popen("create_image_proxies", "--no-dry-run", "--json", "--workers", "2")
    while not 2 <= _made(fifty) < 45:
        assert process.poll() is None
    os.killpg(process.pid, number)
    assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    before = {row["source_id"]: row for row in proxies_of(fifty)}
    # A file added in the meantime is processed in the same run.
    fifty.shell(FILL + "add_file(io.BytesIO(jpeg(seed=99)), 'late.jpg')")
    again = command(fifty, "--json")
    assert again.code == 0
    totals = again.lines[-1]["totals"]
    # The report covers this run alone: proxies of the first run are now reused.
    assert totals["created"] + totals["reused"] == 51
    assert totals["created"] <= 51 - len(before)
    after = {row["source_id"]: row for row in proxies_of(fifty)}
    kept = [source for source, row in before.items() if after[source]["id"] == row["id"]]
    assert len(kept) >= len(before) - 2  # at worst the items in progress are made again
    stored = files_in(fifty.folder / "media" / "proxy_image")
    assert sorted(row["image"].partition("/")[2] for row in after.values()) == stored
    left = fifty.shell(
        "from proxies.models import Batch; print(list(Batch.objects.values_list('state', flat=True)))"
    )
    assert set(eval(left)) == {"completed"}  # noqa: S307 (printed by ourselves)


def test_a_closed_pipe_ends_it_quietly(installation):
    installation.shell(
        FILL
        + """
from media_files.models import MediaFile
rows = [MediaFile(file=f"{n}.jpg", original_name="n" * 200, width=9, height=9, bytes=9, format="JPEG",
                  has_metadata=False)
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
        pass  # the other end is closed
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
    """One installation with one image, shared by all cases."""
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
        assert "1/1" in screen  # the progress bar
    else:
        assert tree(installation.folder / "media") == before
