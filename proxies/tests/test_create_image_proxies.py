"""``create_image_proxies``: its preview, and what it refuses."""

from __future__ import annotations

import json
from functools import partial

import pytest
from django.utils.timezone import now

from media_files.models import MediaFile
from media_files.tests.commands import run_command
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import encoded, jpeg, mp4
from novaproxy_site.tests.installation import wait_for
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.models import Batch, Proxy, Quarantine
from proxies.outcomes import Outcome
from proxies.services import ImageProxyService
from proxies.tests.totals import outcomes

run = partial(run_command, "create_image_proxies")

KEYS = {
    "id", "original_name", "sha256", "outcome", "reasons", "error", "message", "attempts", "width", "height",
    "format", "bytes", "proxy_width", "proxy_height", "proxy_format", "proxy_bytes", "proxy_path",
}  # fmt: skip
BYTES = {"bytes_originals", "bytes_proxies", "bytes_disk_added", "bytes_not_sent"}


@pytest.fixture
def library(add, off):
    """One file per outcome, by outcome."""
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
    def test_it_changes_nothing(self, library, everything, options):
        before = everything()
        assert run(*options).code == 0
        assert everything() == before

    def test_an_abandoned_batch_is_not_resumed(self, library, everything):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="paused")
        batch.items.create(file=library["created"])
        before = everything()
        *lines, last = run("--batch", batch.job_id, "--json").lines
        assert everything() == before
        assert [(line["id"], line["outcome"]) for line in lines] == [(library["created"].pk, "created")]
        assert (last["batch"], last["dry_run"]) == (batch.pk, True)

    def test_json_has_the_keys_of_the_contract(self, library):
        code, out, err = run("--json")
        assert (code, err) == (0, "")
        *lines, last = (json.loads(line) for line in out.splitlines())
        assert all(set(line) == KEYS for line in lines)
        assert set(last) == {"totals", "batch", "dry_run"}
        assert {*Outcome, *BYTES, "forecast"} <= set(last["totals"])
        assert set(last["totals"]["forecast"]) == {"sample", "low", "high"}
        assert (last["batch"], last["dry_run"]) == (None, True)

    def test_each_file_is_listed_with_its_outcome(self, library):
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
        # Two proxies exist, which is too few to learn from.
        assert totals["forecast"] == {"sample": 1, "low": None, "high": None}
        assert (totals["bytes_proxies"], totals["bytes_not_sent"]) == (None, None)

    def test_plain_output_shows_the_same_and_says_that_nothing_changes(self, library):
        out = run().out
        assert out.startswith("Dry run: nothing is changed. --no-dry-run does it.\n")
        for outcome in ("created", "replaced", "reused", "skipped", "quarantined"):
            assert f"{outcome:>12}: 1\n" in out
        assert "reasons: shorter_side 2" in out
        assert "Upload saved per analysis: " in out
        assert "Extra disk space: " in out

    @pytest.mark.parametrize(
        ("options", "expected"),
        [((), {"created": 1, "replaced": 1, "reused": 1, "skipped": 1, "quarantined": 1}),
         (("--force",), {"created": 1, "replaced": 2, "skipped": 1, "quarantined": 1})],
        ids=["plain", "--force"],
    )  # fmt: skip
    def test_force_would_replace_existing_proxies(self, library, options, expected):
        assert outcomes(run("--json", *options).lines[-1]["totals"]) == expected

    @pytest.mark.parametrize(("limit", "work"), [(1, 1), (2, 2), (3, 3), (7, 4)])
    def test_a_limit_counts_files_that_need_work_not_rows(self, add, off, limit, work):
        for seed in range(4):
            add(encoded("PNG", 20, 20, seed=seed))
            add(jpeg(seed=seed))
        totals = run("--json", "--limit", limit).lines[-1]["totals"]
        assert totals["created"] == work

    def test_rows_that_were_never_inspected_are_reported(self, folders, off):
        MediaFile.objects.bulk_create([MediaFile(file=f"in-place/{n}.jpg", managed=False) for n in range(3)])
        assert outcomes(run("--json").lines[-1]["totals"]) == {"created": 3}
        assert "not read yet: 3" in run().out

    def test_an_empty_library(self, folders):
        (last,) = run("--json").lines
        assert outcomes(last["totals"]) == {}

    def test_no_file_is_opened(self, library, folders):
        for name in files_in(folders["originals"]):
            (folders["originals"] / name).unlink()
        assert run("--json").lines[-1]["totals"]["created"] == 1

    @pytest.mark.parametrize("many", [3, 30])
    def test_the_number_of_queries_does_not_depend_on_the_number_of_files(
        self, add, off, many, django_assert_num_queries
    ):
        for seed in range(many):
            add(encoded("PNG", 20, 20, seed=seed))
        with django_assert_num_queries(7):
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
def test_bad_usage_exits_with_2(folders, options):
    ended = run("--no-dry-run", *options)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err


@pytest.mark.django_db
class TestOtherBatches:
    def test_a_batch_of_the_workers_is_refused(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="queue")
        ended = run("--batch", batch.pk, "--no-dry-run")
        assert ended.code == 2
        assert "the workers'" in ended.err

    def test_a_completed_batch_is_not_restarted(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="completed")
        assert run("--batch", batch.pk, "--no-dry-run").code == 2

    def test_a_batch_without_failures_has_nothing_to_retry(self, library):
        batch = Batch.objects.create(operation="image-proxy", executor="local", state="completed")
        ended = run("--batch", batch.pk, "--retry-failed", "--no-dry-run")
        assert ended.code == 2
        assert "Nothing" in ended.err


@pytest.mark.django_db
class TestConcurrentChanges:
    """Each change meets a batch that another process has just changed."""

    def test_pause_because_of_a_missing_profile(self, add, off):
        batch = Batch.objects.create(operation="image-proxy", parameters={"profile": "moon"})
        for _ in range(2):
            perform(Claim(batch, lambda: False))
        assert (batch.state, batch.paused_code) == ("paused", "not_configured")

    def test_resume(self, monkeypatch):
        batch = Batch.objects.create(
            operation="image-proxy", executor="local", state="paused", started_at=now()
        )
        monkeypatch.setattr(
            "proxies.local_runs.take_over", lambda batch: Batch.objects.update(state="running")
        )
        assert run("--batch", batch.pk, "--no-dry-run").code == 0

    def test_cancel_before_ctrl_c(self, monkeypatch):
        def interrupted(*arguments: object, **options: object) -> None:
            Batch.objects.update(state="cancelled")
            raise KeyboardInterrupt

        batch = Batch.objects.create(
            operation="image-proxy", executor="local", state="running", started_at=now()
        )
        monkeypatch.setattr("proxies.batches.local_runner.run", interrupted)
        ended = run("--batch", batch.pk, "--no-dry-run")
        assert ended.code == 130
        assert "Interrupted" in ended.err


@pytest.mark.django_db(transaction=True)
def test_queue_leaves_the_work_to_the_workers(library):
    ended = run("--no-dry-run", "--queue", "--json")
    batch = Batch.objects.get()
    (last,) = ended.lines
    assert (ended.code, last["batch"], last["dry_run"]) == (0, batch.pk, False)
    assert (batch.executor, batch.state) == ("queue", "running")
    waiting = batch.items.values_list("file_id", flat=True)
    assert set(waiting) == {library["created"].pk, library["replaced"].pk}


@pytest.mark.django_db
def test_queue_with_nothing_to_do_creates_no_batch(add, off):
    add(encoded("PNG", 20, 20))
    assert run("--no-dry-run", "--queue").out == "There is nothing to do.\n"
    assert not Batch.objects.exists()


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["plain", "JSON"])
def test_the_reason_for_a_delay_is_printed_once(installation, tmp_path, options):
    installation.shell("""
        import io
        from media_files.services import add_file
        from media_files.tests.pictures import jpeg
        for seed in range(3):
            add_file(io.BytesIO(jpeg(seed=seed)), f"{seed}.jpg")
    """)
    # A file in place of the proxies' folder: nothing can be written there, as on a full disk.
    in_the_way = installation.folder / "media" / "proxy_image"
    in_the_way.touch()
    said = tmp_path / "said"
    with said.open("w") as output:
        command = installation.popen("create_image_proxies", "--no-dry-run", *options, output=output)
    wait_for(lambda: " for the storage: " in said.read_text(), what="the reason")
    in_the_way.unlink()
    assert command.wait(60) == 0
    (reported,) = (line for line in said.read_text().splitlines() if " for the storage: " in line)
    assert "Not a directory" in reported
