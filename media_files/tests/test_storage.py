"""Both storages: whole writes, one request each way, named failures. S3 is a real server."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile

from media_files import storage as storage_module
from media_files.errors import FileTooLarge, SourceMissing, StorageError
from media_files.storage import (
    BucketStorage,
    LocalStorage,
    MediaStorage,
    SourceChanged,
    Stored,
    media_storage,
)

NAME = "proxy_image/IMG_0001_7_nova.jpg"
LARGE = 20 * 1024**2

UNUSUAL_NAMES = [
    pytest.param("a b/c d.jpg", id="spaces"),
    pytest.param("é/日本語/🌄.jpg", id="unicode"),
    pytest.param("\u202egpj.exe", id="right-to-left"),
    pytest.param(".hidden", id="leading-dot"),
    pytest.param("100%2Fof?x=1&y#z+plus.jpg", id="url-characters"),
    pytest.param("quote'\"<&>.jpg", id="markup"),
    pytest.param("x" * 251 + ".jpg", id="255-bytes"),
]
IMPOSSIBLE_NAMES = ["", "../outside.jpg", "a/../../outside.jpg"]


@pytest.fixture
def local(tmp_path):
    (tmp_path / "media").mkdir()
    return LocalStorage(location=tmp_path / "media")


@pytest.fixture
def remote(relayed_bucket):
    return BucketStorage(**relayed_bucket.options("some/prefix"))


@pytest.fixture(params=["local", pytest.param("remote", marks=pytest.mark.s3)])
def storage(request):
    """Each of both, for what they have in common."""
    return request.getfixturevalue(request.param)


def read(storage: MediaStorage, name: str) -> bytes:
    with storage.fetch(name) as stream:
        return stream.read()


def files_under(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class Unseekable(io.RawIOBase):
    """A stream like a socket's: it can only be read on."""

    def __init__(self, content: bytes) -> None:
        self._content = io.BytesIO(content)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        return self._content.readinto(buffer)


class Failing(io.BytesIO):
    """A stream that gives some bytes and then an error."""

    def __init__(self, error: Exception) -> None:
        super().__init__(b"x" * 3_000_000)
        self._error = error

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() >= 2_000_000:
            raise self._error
        return super().read(size)


# -- What both do ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: b"abc", id="bytes"),
        pytest.param(lambda: io.BytesIO(b"abc"), id="stream"),
        pytest.param(lambda: Unseekable(b"abc"), id="unseekable"),
        pytest.param(lambda: ContentFile(b"abc"), id="django-file"),
    ],
)
def test_what_was_put_is_fetched(storage, content):
    stored = storage.put(NAME, content())
    assert (stored.name, stored.bytes) == (NAME, 3)
    assert read(storage, NAME) == b"abc"
    assert storage.stat(NAME) == stored


def test_a_stream_is_put_from_its_beginning_and_stays_open(storage):
    stream = io.BytesIO(b"abc")
    stream.read()
    storage.put(NAME, stream)
    assert read(storage, NAME) == b"abc"
    assert not stream.closed


def test_no_bytes_are_a_file_too(storage):
    assert storage.put(NAME, b"").bytes == 0
    assert read(storage, NAME) == b""


def test_put_replaces_what_lies_under_the_name(storage):
    storage.put(NAME, b"a longer first content")
    storage.put(NAME, b"second")
    assert read(storage, NAME) == b"second"


def test_a_reader_goes_on_reading_what_it_opened(storage):
    storage.put(NAME, b"first" * 1000)
    with storage.fetch(NAME) as stream:
        storage.put(NAME, b"second")
        assert stream.read() == b"first" * 1000


def test_a_fetched_stream_can_seek(storage):
    storage.put(NAME, b"0123456789")
    with storage.fetch(NAME) as stream:
        assert stream.seekable()
        assert stream.seek(-3, os.SEEK_END) == 7
        assert stream.read() == b"789"
        stream.seek(2)
        assert stream.read(2) == b"23"


@pytest.mark.parametrize("name", UNUSUAL_NAMES)
def test_unusual_names(storage, name):
    storage.put(name, b"abc")
    assert read(storage, name) == b"abc"
    assert storage.exists(name)
    storage.delete(name)
    assert not storage.exists(name)


@pytest.mark.parametrize("name", IMPOSSIBLE_NAMES)
def test_impossible_names_are_refused(storage, name):
    with pytest.raises(SuspiciousFileOperation):
        storage.put(name, b"abc")
    with pytest.raises(SuspiciousFileOperation):
        storage.fetch(name)


@pytest.mark.parametrize("operation", ["fetch", "stat", "size", "open"])
def test_a_missing_file_is_named_so(storage, operation):
    with pytest.raises(SourceMissing, match=r"nothing\.jpg.*delete its row"):
        getattr(storage, operation)("nothing.jpg")


def test_a_missing_file_may_be_deleted(storage):
    storage.delete("nothing.jpg")


def test_save_keeps_djangos_promise_never_to_overwrite(storage):
    first = storage.save("a.jpg", ContentFile(b"first"))
    second = storage.save("a.jpg", ContentFile(b"second"))
    assert first == "a.jpg"
    assert second != first
    assert (read(storage, first), read(storage, second)) == (b"first", b"second")


def test_save_keeps_its_promise_when_a_name_is_taken_in_the_meantime(storage, monkeypatch):
    storage.put("a.jpg", b"first")
    # Both writers found the name free; now the second one comes to write.
    real = type(storage).get_available_name
    answers = iter(["a.jpg"])
    monkeypatch.setattr(
        storage, "get_available_name", lambda name, *a, **k: next(answers, "") or real(storage, name, *a, **k)
    )
    second = storage.save("a.jpg", ContentFile(b"second"))
    assert second != "a.jpg"
    assert (read(storage, "a.jpg"), read(storage, second)) == (b"first", b"second")


def test_open_reads_as_django_does(storage):
    storage.put(NAME, b"line 1\nline 2\n")
    with storage.open(NAME) as file:
        assert list(file) == [b"line 1\n", b"line 2\n"]
    assert storage.size(NAME) == 14


def test_an_error_of_the_callers_stream_leaves_the_old_file(storage):
    storage.put(NAME, b"old")
    with pytest.raises(ValueError, match="not mine"):
        storage.put(NAME, Failing(ValueError("not mine")))
    assert read(storage, NAME) == b"old"


# -- The folder --------------------------------------------------------------------------------


def test_local_files_have_djangos_modes(local, settings):
    settings.FILE_UPLOAD_PERMISSIONS = 0o640
    settings.FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o750
    local.put("folder/put.jpg", b"abc")
    local.save("folder/saved.jpg", ContentFile(b"abc"))
    folder = Path(local.location, "folder")
    assert [
        oct(path.stat().st_mode & 0o777) for path in (folder / "put.jpg", folder / "saved.jpg", folder)
    ] == [
        "0o640",
        "0o640",
        "0o750",
    ]


def test_local_writes_are_durable_before_they_are_visible(local, monkeypatch):
    calls = []
    descriptors: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, os.replace

    def spy_open(path, *arguments, **options):
        descriptor = real_open(path, *arguments, **options)
        descriptors[descriptor] = Path(path).parent.name if Path(path).suffix == ".part" else Path(path).name
        return descriptor

    def spy_fsync(descriptor):
        calls.append(f"sync {descriptors[descriptor]}")
        real_fsync(descriptor)

    def spy_replace(source, target):
        calls.append("replace")
        real_replace(source, target)

    local.put("folder/first.jpg", b"makes the folders")
    monkeypatch.setattr(os, "open", spy_open)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    local.put("folder/second.jpg", b"abc")
    assert calls == ["sync .incoming", "replace", "sync folder"]


def test_the_folder_of_writes_in_progress_is_out_of_sight_and_reach(local):
    local.put(NAME, b"abc")
    assert local.listdir("") == (["proxy_image"], [])
    assert files_under(Path(local.location)) == [NAME]
    for name in (".incoming", ".incoming/x", "proxy_image/../.incoming/x", "nul\0.jpg"):
        with pytest.raises(SuspiciousFileOperation):
            local.put(name, b"abc")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failing_disk_leaves_the_old_file_and_no_temporary(local, monkeypatch, step, code):
    local.put(NAME, b"old")

    def fail(*arguments, **options):
        raise OSError(code, os.strerror(code))

    if step == "write":
        monkeypatch.setattr(LocalStorage, "_ensure_location_group_id", fail)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(StorageError, match=os.strerror(code)) as raised:
        local.put(NAME, b"new")
    assert raised.value.transient
    assert NAME in str(raised.value)
    assert local.location in str(raised.value)
    assert files_under(Path(local.location)) == [NAME]
    assert read(local, NAME) == b"old"


def test_a_disk_that_is_really_full(tmp_path):
    """Write into a tmpfs of 1 MB, mounted in a mount namespace of the child's own."""
    script = """
        import sys, django
        from django.conf import settings
        settings.configure(); django.setup()
        from media_files.errors import StorageError
        from media_files.storage import LocalStorage
        storage = LocalStorage(location=sys.argv[1])
        storage.put("a.jpg", b"old")
        try:
            storage.put("a.jpg", b"x" * 4_000_000)
        except StorageError as error:
            print(error)
        print(storage.fetch("a.jpg").read(), storage.listdir(""), list(storage._incoming.iterdir()))
    """
    command = f'mount -t tmpfs -o size=1m none {tmp_path} && exec {sys.executable} -c "$SCRIPT" {tmp_path}'
    result = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", command],
        env=os.environ | {"SCRIPT": textwrap.dedent(script)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in result.stderr or "unshare" in result.stderr:
        pytest.skip(f"no mount namespace here: {result.stderr.strip()}")
    assert "No space left on device. Free some space" in result.stdout
    assert result.stdout.endswith("b'old' ([], ['a.jpg']) []\n")


def test_a_folder_that_may_not_be_written_to(local, monkeypatch):
    monkeypatch.setattr(
        os, "open", lambda *a, **k: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Denied"))
    )
    with pytest.raises(StorageError, match="Give the user that runs NovaProxy the right"):
        local.put(NAME, b"abc")


def test_a_file_where_a_folder_is_needed(local):
    local.put("proxy_image", b"in the way")
    with pytest.raises(StorageError, match="A file lies where a folder is needed"):
        local.put(NAME, b"abc")


def test_a_folder_under_the_files_name_is_no_file(local):
    local.put(NAME, b"abc")
    with pytest.raises(SourceMissing):
        local.fetch("proxy_image")
    with pytest.raises(SourceMissing):
        local.stat("proxy_image")


def test_a_disk_that_is_not_mounted_is_not_the_files_fault(local):
    """Or else each file behind it would be given up as missing."""
    local.put(NAME, b"abc")
    Path(local.location).rename(f"{local.location}-away")
    for read_or_look in (local.fetch, local.stat):
        with pytest.raises(StorageError, match="mount its disk"):
            read_or_look(NAME)
    Path(f"{local.location}-away").rename(local.location)
    assert read(local, NAME) == b"abc"


def test_the_folder_is_made_by_the_first_write(tmp_path):
    storage = LocalStorage(location=tmp_path / "a" / "b")
    assert not storage.exists(NAME)
    storage.put(NAME, b"abc")
    assert read(storage, NAME) == b"abc"


def test_a_name_too_long_for_the_file_system(local):
    with pytest.raises(StorageError, match="Use a shorter name"):
        local.put("x" * 256, b"abc")


def test_a_disk_that_fails_during_a_read_is_not_the_files_fault(local):
    """Decoders take an OSError for a damaged picture; a StorageError goes through them."""
    local.put(NAME, b"abc")
    for size in (-1, 1):
        with local.fetch(NAME) as stream:
            # A descriptor whose reads the kernel refuses, in the place of a failing disk's.
            unreadable = os.open(os.devnull, os.O_WRONLY)
            os.dup2(unreadable, stream.fileno())
            os.close(unreadable)
            with pytest.raises(StorageError, match=r"Could not read .*IMG_0001"):
                stream.read(size)


def test_save_without_hard_links(local, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    names = [local.save("a.jpg", ContentFile(content)) for content in (b"first", b"second")]
    assert [read(local, name) for name in names] == [b"first", b"second"]
    assert len(set(names)) == 2
    assert files_under(Path(local.location)) == sorted(names)


def test_save_without_hard_links_takes_no_name_that_is_taken(local, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    local.put("a.jpg", b"first")
    answers = iter(["a.jpg"])
    monkeypatch.setattr(local, "get_available_name", lambda *a, **k: next(answers, "b.jpg"))
    assert local.save("a.jpg", ContentFile(b"second")) == "b.jpg"
    assert (read(local, "a.jpg"), read(local, "b.jpg")) == (b"first", b"second")


def test_a_failed_move_without_hard_links_leaves_no_empty_file(local, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EPERM, "not allowed")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(StorageError):
        local.save("a.jpg", ContentFile(b"abc"))
    assert files_under(Path(local.location)) == []


def test_writers_of_one_name_at_once(local):
    """Whoever comes last, the file is one writer's, whole; each save has a name of its own."""
    contents = [bytes([n]) * 200_000 for n in range(8)]
    names: list[str] = []
    barrier = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        barrier.wait()
        local.put("put.jpg", content)
        names.append(local.save("saved.jpg", ContentFile(content)))

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(local, "put.jpg") in contents
    assert len(set(names)) == len(contents)
    assert sorted(read(local, name) for name in names) == sorted(contents)


def test_an_upload_on_disk_is_saved(local):
    with TemporaryUploadedFile("a.jpg", "image/jpeg", 3, None) as upload:
        upload.write(b"abc")
        assert read(local, local.save("a.jpg", upload)) == b"abc"


WRITER = """
    import io, os, sys, time, django
    from django.conf import settings
    settings.configure(); django.setup()
    from media_files.storage import LocalStorage

    class Slow(io.BytesIO):
        def read(self, size=-1):
            part = super().read(1000)
            if self.tell() >= 5000:
                print("halfway", flush=True)
                time.sleep(60)
            return part

    def stop_before_moving(source, target):
        print("written", flush=True)
        time.sleep(60)

    storage = LocalStorage(location=sys.argv[1])
    if sys.argv[2] == "halfway":
        storage.put("proxy_image/a.jpg", Slow(b"new" * 10_000))
    os.replace = stop_before_moving
    storage.put("proxy_image/a.jpg", b"new")
"""


@pytest.mark.parametrize("moment", ["halfway", "written"])
@pytest.mark.parametrize("before", [None, b"old"], ids=["new-name", "replacing"])
def test_a_writer_that_is_killed_leaves_the_old_file_and_a_temporary_to_sweep(local, moment, before):
    if before is not None:
        local.put("proxy_image/a.jpg", before)
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), local.location, moment],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert writer.stdout is not None
    with writer.stdout:
        assert writer.stdout.readline() == f"{moment}\n"
    # Nobody sees more of it than before, and a sweeper leaves it alone while its writer lives.
    assert local.sweep_temporaries(timedelta(0)) == 0
    assert len(list(local._incoming.iterdir())) == 1
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert files_under(Path(local.location, "proxy_image")) == ([] if before is None else ["a.jpg"])
    if before is not None:
        assert read(local, "proxy_image/a.jpg") == before
    assert local.sweep_temporaries(timedelta(0)) == 1
    assert list(local._incoming.iterdir()) == []


def test_sweeping_goes_by_age(local):
    local.put(NAME, b"abc")
    for age in (0, 3600, 7200):
        temporary = local._incoming / f"{age}.part"
        temporary.write_bytes(b"left")
        os.utime(temporary, (time.time() - age,) * 2)
    assert local.sweep_temporaries(timedelta(hours=1)) == 2
    assert [path.name for path in local._incoming.iterdir()] == ["0.part"]
    assert read(local, NAME) == b"abc"


def test_sweeping_before_anything_was_written(local):
    assert local.sweep_temporaries(timedelta(0)) == 0


def test_a_folder_of_files_needs_no_boto3():
    """It costs each process 0.3 s and 30 MB."""
    source = """
        import sys, django
        from django.conf import settings
        settings.configure(STORAGES={"originals": {"BACKEND": "media_files.storage.LocalStorage"}})
        django.setup()
        from media_files.storage import media_storage
        media_storage("originals")
        print("boto3" in sys.modules or "botocore" in sys.modules)
    """
    assert subprocess.check_output([sys.executable, "-c", textwrap.dedent(source)], text=True) == "False\n"


def test_an_alias_of_another_kind_of_storage_is_refused(settings):
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    }
    with pytest.raises(ImproperlyConfigured, match=r"STORAGES\['originals'\] is FileSystemStorage"):
        media_storage("originals")


def test_aliases_lead_to_both_kinds(settings, tmp_path):
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "media_files.storage.LocalStorage", "OPTIONS": {"location": str(tmp_path)}},
        "proxies": {"BACKEND": "media_files.storage.BucketStorage", "OPTIONS": {"bucket_name": "b"}},
    }
    assert isinstance(media_storage("originals"), LocalStorage)
    assert isinstance(media_storage("proxies"), BucketStorage)


def test_the_module_has_no_other_late_names():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = storage_module.Nothing


# -- The bucket --------------------------------------------------------------------------------


@pytest.mark.s3
@pytest.mark.parametrize("size", [3, LARGE], ids=["small", "20-MB"])
@pytest.mark.parametrize("wrap", [bytes, io.BytesIO, ContentFile, Unseekable])
def test_put_is_one_request(remote, relay, bucket, wrap, size):
    content = os.urandom(size)
    stored = remote.put(NAME, wrap(content), content_type="image/jpeg")
    assert relay.methods == ["PUT"]
    head = bucket.client().head_object(Bucket=bucket.name, Key=f"some/prefix/{NAME}")
    assert head["ContentType"] == "image/jpeg"
    assert head["ContentLength"] == stored.bytes == size
    assert head["ETag"].strip('"') == stored.etag == hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.mark.s3
@pytest.mark.parametrize("size", [3, LARGE], ids=["small", "20-MB"])
def test_fetch_is_one_request(remote, relay, size):
    content = os.urandom(size)
    etag = remote.put(NAME, content).etag
    relay.requests.clear()
    with remote.fetch(NAME, etag=etag) as stream:
        assert stream.read() == content
    assert relay.methods == ["GET"]
    assert relay.requests[0].headers["If-Match"] == f'"{etag}"'


@pytest.mark.s3
def test_django_open_is_one_request_and_save_looks_for_a_free_name_first(remote, relay):
    assert remote.save(NAME, ContentFile(b"abc")) == NAME
    assert relay.methods == ["HEAD", "PUT"]
    relay.requests.clear()
    with remote.open(NAME) as file:
        assert file.read() == b"abc"
    assert relay.methods == ["GET"]


@pytest.mark.s3
def test_requests_carry_signature_version_4(remote, relay):
    remote.put(NAME, b"abc")
    assert relay.requests[0].headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")


@pytest.mark.s3
def test_a_large_body_is_held_on_disk(relayed_bucket):
    storage = BucketStorage(**relayed_bucket.options(), max_memory_size=1000)
    for size, on_disk in ((1000, False), (1001, True)):
        storage.put(NAME, b"x" * size)
        with storage.fetch(NAME) as stream:
            assert vars(stream)["_rolled"] is on_disk
            assert len(stream.read()) == size


@pytest.mark.s3
def test_an_object_that_changed_is_named_so(remote):
    etag = remote.put(NAME, b"first").etag
    remote.put(NAME, b"second")
    with pytest.raises(SourceChanged, match=r"another object has that name now") as raised:
        remote.fetch(NAME, etag=etag)
    assert not raised.value.transient
    assert isinstance(raised.value, StorageError)


@pytest.mark.s3
def test_versions(relayed_bucket):
    relayed_bucket.client().put_bucket_versioning(
        Bucket=relayed_bucket.name, VersioningConfiguration={"Status": "Enabled"}
    )
    storage = BucketStorage(**relayed_bucket.options())
    first = storage.put(NAME, b"first")
    second = storage.put(NAME, b"second")
    assert first.version
    assert first.version != second.version
    assert storage.stat(NAME) == second
    with storage.fetch(NAME, version=first.version) as stream:
        assert stream.read() == b"first"
    storage.delete(NAME)
    with pytest.raises(SourceMissing):
        storage.fetch(NAME)


@pytest.mark.s3
def test_without_a_prefix_a_key_is_the_name(bucket):
    BucketStorage(**bucket.options()).put("a/b.jpg", b"abc")
    assert bucket.keys() == ["a/b.jpg"]


@pytest.mark.s3
def test_file_overwrite_is_an_option(bucket):
    storage = BucketStorage(**bucket.options(), file_overwrite=True)
    assert [storage.save("a.jpg", ContentFile(content)) for content in (b"1", b"2")] == ["a.jpg", "a.jpg"]
    assert read(storage, "a.jpg") == b"2"


@pytest.mark.s3
def test_url_lets_a_browser_fetch_the_file(remote, relay):
    remote.put(NAME, b"abc")
    relay.requests.clear()
    url = remote.url(NAME)
    assert relay.requests == []
    assert url.startswith(f"{relay.endpoint}/")
    with urllib.request.urlopen(url) as response:  # noqa: S310 (our own server)
        fetched = response.read()
    assert fetched == b"abc"


@pytest.mark.s3
@pytest.mark.parametrize("mode", ["r", "wb", "ab"])
def test_a_bucket_is_not_opened_for_writing(remote, mode):
    with pytest.raises(ValueError, match=r"use put\(\) or save\(\)"):
        remote.open(NAME, mode)


@pytest.mark.s3
def test_listing_and_sweeping_a_bucket(remote):
    remote.put(NAME, b"abc")
    assert remote.listdir("") == (["proxy_image"], [])
    assert remote.sweep_temporaries(timedelta(0)) == 0


@pytest.mark.s3
@pytest.mark.parametrize("name", ["x" * 1025, "\ud800.jpg"], ids=["1025-bytes", "no-utf-8"])
def test_keys_that_s3_does_not_allow(remote, relay, name):
    with pytest.raises(SuspiciousFileOperation):
        remote.put(name, b"abc")
    assert relay.requests == []


@pytest.mark.s3
def test_more_than_one_request_can_hold(remote, relay):
    class Huge(io.BytesIO):
        def tell(self) -> int:
            return 5 * 1024**3 + 1

    with pytest.raises(FileTooLarge, match="register it in place"):
        remote.put(NAME, Huge(b"abc"))
    assert relay.requests == []


@pytest.mark.s3
def test_a_server_fault_that_passes_is_not_seen(remote, relay):
    relay.fault = lambda request: (
        None if len(relay.requests) > 1 else relay.answer(503, error_document("SlowDown"))
    )
    remote.put(NAME, b"abc")
    assert relay.methods == ["PUT", "PUT"]
    assert read(remote, NAME) == b"abc"


@pytest.mark.s3
@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (403, "AccessDenied", "Check the credentials"),
        (403, "InvalidObjectState", "archived"),
        (404, "NoSuchBucket", "Create the bucket"),
        (400, "InvalidRequest", "worth a retry"),
    ],
)
def test_faults_of_the_server_say_what_to_do(remote, relay, *, status, code, advice):
    relay.fault = lambda request: relay.answer(status, error_document(code))
    with pytest.raises(StorageError, match=advice) as raised:
        remote.fetch(NAME)
    assert raised.value.transient
    assert code in str(raised.value)
    assert remote.bucket_name in str(raised.value)
    assert len(relay.requests) == 1


@pytest.mark.s3
def test_a_bucket_that_does_not_exist(s3_server):
    storage = BucketStorage(**s3_server.make_bucket().options() | {"bucket_name": "no-such-bucket"})
    with pytest.raises(StorageError, match="Create the bucket"):
        storage.put(NAME, b"abc")
    with pytest.raises(StorageError, match="Create the bucket"):
        storage.fetch(NAME)


@pytest.mark.s3
def test_wrong_credentials(bucket):
    storage = BucketStorage(**bucket.options() | {"secret_key": "wrong"})
    with pytest.raises(StorageError, match="Check the credentials"):
        storage.put(NAME, b"abc")


def test_no_credentials_at_all(bucket):
    storage = BucketStorage(**bucket.options() | {"access_key": None, "secret_key": None})
    with pytest.raises(StorageError, match=r"Unable to locate credentials.*Check the endpoint"):
        storage.put(NAME, b"abc")


@pytest.mark.s3
def test_a_body_that_breaks_off(remote, relay):
    remote.put(NAME, b"abc")
    relay.fault = lambda request: relay.answer(200, b"only a part", length=1000)
    with pytest.raises(StorageError, match="Could not read"):
        remote.fetch(NAME)


def test_nobody_listens():
    storage = BucketStorage(
        bucket_name="b", endpoint_url="http://127.0.0.1:1", region_name="x", access_key="k", secret_key="s"
    )
    with pytest.raises(StorageError, match="Check the endpoint"):
        storage.exists(NAME)


def test_an_endpoint_that_is_no_address():
    storage = BucketStorage(bucket_name="b", endpoint_url="nonsense", access_key="k", secret_key="s")
    with pytest.raises(StorageError, match="Check the storage's region and endpoint"):
        storage.put(NAME, b"abc")


@pytest.mark.s3
def test_a_full_disk_under_the_spool(remote, monkeypatch):
    remote.put(NAME, b"abc")

    def full(self, chunk):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    with pytest.raises(StorageError, match=r"No space left on device.*TMPDIR"):
        remote.fetch(NAME)


@pytest.mark.s3
def test_each_process_has_a_client_of_its_own_and_threads_share_it(remote):
    clients = []
    threads = [threading.Thread(target=lambda: clients.append(remote.client)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, clients))) == 1

    remote.put(NAME, b"abc")
    child = os.fork()
    if child == 0:
        # Whatever happens here must not run the rest of pytest a second time.
        ours = remote.client is not clients[0] and read(remote, NAME) == b"abc"
        os._exit(0 if ours else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert remote.client is clients[0]


def error_document(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()


def test_stored_is_a_value():
    assert Stored("a", 1) == Stored("a", 1, "", "")
