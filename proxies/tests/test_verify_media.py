"""verify_media compares every row with its file and every file with its row, and repairs the mismatches."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from media_files.models import DiscardedFile, MediaFile
from media_files.storage.base import MediaStorage, media_storage
from media_files.tests.commands import run_command as run
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import jpeg
from novaproxy_site.tests.installation import Installation
from novaproxy_site.tests.servers import S3Bucket
from proxies import verification
from proxies.external import create_proxy_file
from proxies.models import Batch, BatchItem, Proxy, proxies_storage
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db(transaction=True)

Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _a_data_folder(settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path / "data"
    settings.DATA_DIR.mkdir()


@pytest.fixture(params=["folder", pytest.param("bucket", marks=pytest.mark.s3)])
def place(request: pytest.FixtureRequest, settings: Any, folders: Any) -> str:
    """Put both storages in folders, or in a bucket."""
    if request.param == "bucket":
        bucket: S3Bucket = request.getfixturevalue("bucket")
        backend = "media_files.storage.s3.BucketStorage"
        settings.STORAGES = settings.STORAGES | {
            alias: {"BACKEND": backend, "OPTIONS": bucket.options(alias)}
            for alias in ("originals", "proxies")
        }
    return str(request.param)


@pytest.fixture
def library(place: str, add: Callable[..., MediaFile], off: None) -> list[MediaFile]:
    """Three originals with up-to-date proxies."""
    files = [add(jpeg(seed=seed), f"{seed}.jpg") for seed in range(3)]
    for file in files:
        ImageProxyService().create_proxy(file)
    return files


def verify(*options: str, code: int) -> tuple[list[Row], Row]:
    """Run the command, and return its findings and its last line."""
    ended = run("verify_media", "--json", "--older-than", "0", *options)
    assert ended.code == code, ended
    lines = [json.loads(line) for line in ended.out.splitlines()]
    return lines[:-1], lines[-1]


def brief(rows: list[Row]) -> set[tuple[Any, ...]]:
    return {(row["kind"], row["state"], row["action"], row["id"]) for row in rows}


def originals() -> MediaStorage:
    return media_storage("originals")


def flip(storage: MediaStorage, name: str) -> None:
    with storage.fetch(name) as stream:
        content = bytearray(stream.read())
    content[len(content) // 2] ^= 1
    storage.put(name, bytes(content))


def damage(library: list[MediaFile]) -> list[Proxy]:
    """Remove one original and one proxy, overwrite one of each, and flip a bit in one of each."""
    proxies = list(Proxy.objects.order_by("pk"))
    for storage, names in [
        (originals(), [str(file.file.name) for file in library]),
        (proxies_storage(), [str(proxy.image.name) for proxy in proxies]),
    ]:
        storage.delete(names[0])
        storage.put(names[1], b"rubbish")
        flip(storage, names[2])
    return proxies


def test_nothing_is_wrong(library: list[MediaFile]) -> None:
    found, last = verify(code=0)
    assert found == []
    assert last["totals"]["originals"] == last["totals"]["proxies"] == 3
    assert last["totals"]["files"] == 6
    assert last["totals"]["bytes"] > 0
    assert last["dry_run"]
    assert verify("--deep", code=0)[0] == []


def test_a_dry_run_reports_everything_and_changes_nothing(
    library: list[MediaFile], everything: Callable[[], Any]
) -> None:
    proxies = damage(library)
    before = everything()
    found, last = verify("--deep", code=1)
    by_hash = {
        ("original", "wrong_hash", "none", library[2].pk),
        ("proxy", "wrong_hash", "make_again", proxies[2].pk),
    }
    by_size = {
        ("original", "missing", "none", library[0].pk),
        ("original", "wrong_size", "none", library[1].pk),
        ("proxy", "missing", "make_again", proxies[0].pk),
        ("proxy", "wrong_size", "make_again", proxies[1].pk),
    }
    assert brief(found) == by_size | by_hash
    assert last["totals"]["found"] == 6
    assert last["totals"]["missing"] == 2
    assert everything() == before


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_without_deep_no_file_is_read(library: list[MediaFile]) -> None:
    proxies = damage(library)
    states = {(row["kind"], row["state"]) for row in verify(code=1)[0]}
    assert ("proxy", "wrong_hash") not in states
    assert ("proxy", "wrong_size") in states
    assert len(proxies) == 3


def test_a_repair_has_proxies_made_again(library: list[MediaFile]) -> None:
    for proxy in damage(library):
        originals().put(str(proxy.source.file.name), jpeg(seed=library.index(proxy.source)))
    _, last = verify("--deep", "--repair", code=1)
    (batch,) = Batch.objects.filter(pk__in=last["batches"])
    assert batch.operation == "image-proxy"
    assert BatchItem.objects.filter(batch=batch, state="queued").count() == 3
    for file in library:
        ImageProxyService().create_proxy(file)
    assert verify("--deep", code=0)[0] == []


def test_outdated_proxies_are_found_and_made_again(library: list[MediaFile]) -> None:
    proxy = Proxy.objects.order_by("pk")[1]
    Proxy.objects.filter(pk=proxy.pk).update(recipe="of an older version")
    assert brief(verify(code=1)[0]) == {("proxy", "outdated", "make_again", proxy.pk)}
    verify("--repair", code=1)
    assert [item.file_id for item in BatchItem.objects.all()] == [proxy.source_id]


def test_a_video_proxy_cannot_be_repaired(library: list[MediaFile]) -> None:
    proxy = create_proxy_file(library[0], b"a film", extension="mp4")
    proxies_storage().delete(str(proxy.image.name))
    assert brief(verify("--repair", code=1)[0]) == {("proxy", "missing", "none", proxy.pk)}
    assert not Batch.objects.exists()


UNKNOWN = [("originals", "original/ab/x/lost.jpeg"), ("proxies", "proxy_image/lost_9_nova.jpg")]
UNKNOWN += [("proxies", "proxy_video/lost_9_proxy.mp4")]


@pytest.mark.parametrize("options", [[], ["--repair"], ["--delete-unknown"]])
def test_a_file_without_a_row_is_kept_without_both_options(
    library: list[MediaFile], options: list[str]
) -> None:
    for alias, name in UNKNOWN:
        media_storage(alias).put(name, b"somebody's")
    found, last = verify(*options, code=1)
    assert {(row["kind"], row["state"], row["path"]) for row in found} == {
        ("unknown_file", "unknown", name) for _, name in UNKNOWN
    }
    assert last["totals"]["bytes_found"] == 3 * len(b"somebody's")
    assert all(media_storage(alias).exists(name) for alias, name in UNKNOWN)


def test_with_both_options_only_that_file_is_deleted(library: list[MediaFile]) -> None:
    ours = [("originals", "elsewhere/of-another-program.jpg"), ("proxies", "elsewhere.txt")]
    for alias, name in [*UNKNOWN, *ours]:
        media_storage(alias).put(name, b"somebody's")
    found, _ = verify("--repair", "--delete-unknown", code=1)
    assert {row["action"] for row in found} == {"delete"}
    assert not any(media_storage(alias).exists(name) for alias, name in UNKNOWN)
    assert all(media_storage(alias).exists(name) for alias, name in ours), (
        "files outside our prefixes must be kept"
    )
    assert verify("--deep", code=0)[0] == []


def test_a_new_file_without_a_row_is_left_alone(library: list[MediaFile]) -> None:
    proxies_storage().put("proxy_image/new_9_nova.jpg", b"its row is being written")
    ended = run("verify_media", "--repair", "--delete-unknown")
    assert (ended.code, "Nothing is wrong." in ended.out) == (0, True)


def test_a_file_with_a_removal_note_is_left_to_the_sweeper(library: list[MediaFile]) -> None:
    originals().put("original/ab/x/noted.jpeg", b"to be removed")
    DiscardedFile.objects.create(storage_alias="originals", name="original/ab/x/noted.jpeg")
    assert verify(code=0)[0] == []


@pytest.mark.parametrize("place", ["folder"], indirect=True)
def test_temporary_files_are_reported_and_removed(library: list[MediaFile], folders: dict[str, Path]) -> None:
    left = folders["proxies"] / ".incoming" / "cut-short.part"
    left.write_bytes(b"half a proxy")
    proxies_storage().put(".probe/left", b"a probe")
    os.utime(left, (time.time() - 60, time.time() - 60))
    found, _ = verify(code=1)
    assert brief(found) == {("temporary", "unknown", "delete", None)}
    assert len(found) == 2
    assert left.exists()
    verify("--repair", code=1)
    assert files_in(folders["proxies"]) == sorted(str(proxy.image.name) for proxy in Proxy.objects.all())


def test_an_interrupted_run_resumes_and_reports_the_totals_of_the_whole(
    library: list[MediaFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(library)
    whole = verify("--deep", code=1)
    monkeypatch.setattr(verification, "PAGE", 1)
    asked: list[str] = []
    stat = type(originals()).stat

    def interrupt(self: MediaStorage, name: str) -> Any:
        asked.append(name)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return stat(self, name)

    with monkeypatch.context() as during:
        during.setattr(type(originals()), "stat", interrupt)
        ended = run("verify_media", "--deep", "--json", "--older-than", "0")
    assert ended.code == 130
    first = [json.loads(line) for line in ended.out.splitlines()]
    rest, last = verify("--deep", code=1)
    assert 0 < len(rest) < len(whole[0])
    assert brief(first) | brief(rest) == brief(whole[0])
    assert len(first) + len(rest) == len(whole[0])
    assert last["totals"] == whole[1]["totals"]


def test_memory_does_not_grow_with_the_library(library: list[MediaFile], monkeypatch: Any) -> None:
    """Each statement and each listing reads one page, whatever the number of rows."""
    monkeypatch.setattr(verification, "PAGE", 2)
    pages = list(verification.Verification().pages())
    assert all(page.checked <= 2 for page in pages)
    assert sum(page.checked for page in pages if page.step == "files") == 6


def test_bad_usage(db: None) -> None:
    assert run("verify_media", "--older-than", "-1").code == 2


@pytest.mark.every_backend
def test_a_library_is_repaired_from_a_shell(installation: Installation, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        (photos / f"{seed}.jpg").write_bytes(jpeg(seed=seed))
    installation.manage("import_media", photos)
    installation.manage("create_image_proxies", "--no-dry-run")
    assert installation.manage("verify_media", "--deep").stdout.endswith("Nothing is wrong.\n")
    media = installation.folder / "media"
    first, second, third = sorted((media / "proxy_image").iterdir())
    first.unlink()
    second.write_bytes(b"rubbish")
    third.with_name("lost_9_nova.jpg").write_bytes(b"somebody's")
    options = ["--repair", "--delete-unknown", "--older-than", "0"]
    found = installation.manage("verify_media", "--json", *options, check=False)
    assert found.returncode == 1, found.stderr
    assert sorted(json.loads(line)["state"] for line in found.stdout.splitlines()[:-1]) == [
        "missing",
        "unknown",
        "wrong_size",
    ]
    installation.manage("create_image_proxies", "--no-dry-run")
    assert installation.manage("verify_media", "--deep").stdout.endswith("Nothing is wrong.\n")
