"""Local storage: atomic writes, named errors, and processes killed while writing."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import TemporaryUploadedFile

from media_files.errors import SourceMissing, StorageError
from media_files.storage.local import LocalStorage
from media_files.tests.storages import NAME, files_under, read


def test_local_files_have_the_same_modes_as_in_django(local, settings):
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


def test_the_folder_of_writes_in_progress_is_hidden_and_inaccessible(local):
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


def test_a_full_disk(tmp_path):
    """Write into a 1 MB tmpfs, mounted in the child's mount namespace."""
    script = """
        import sys, django
        from django.conf import settings
        settings.configure(); django.setup()
        from media_files.errors import StorageError
        from media_files.storage.local import LocalStorage
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


def test_a_read_only_folder(local, monkeypatch):
    monkeypatch.setattr(
        os, "open", lambda *a, **k: (_ for _ in ()).throw(PermissionError(errno.EACCES, "Denied"))
    )
    with pytest.raises(StorageError, match="Give the user that runs NovaProxy the right"):
        local.put(NAME, b"abc")


def test_a_file_where_a_folder_is_needed(local):
    local.put("proxy_image", b"in the way")
    with pytest.raises(StorageError, match="There is a file where a folder is needed"):
        local.put(NAME, b"abc")


def test_a_folder_with_the_name_of_a_file_counts_as_missing(local):
    local.put(NAME, b"abc")
    with pytest.raises(SourceMissing):
        local.fetch("proxy_image")
    with pytest.raises(SourceMissing):
        local.stat("proxy_image")


def test_an_unmounted_disk_does_not_count_against_the_file(local):
    """Otherwise every file on it would be given up as missing."""
    local.put(NAME, b"abc")
    Path(local.location).rename(f"{local.location}-away")
    for read_or_look in (local.fetch, local.stat):
        with pytest.raises(StorageError, match="mount its disk"):
            read_or_look(NAME)
    Path(f"{local.location}-away").rename(local.location)
    assert read(local, NAME) == b"abc"


def test_the_first_write_creates_the_folder(tmp_path):
    storage = LocalStorage(location=tmp_path / "a" / "b")
    assert not storage.exists(NAME)
    storage.put(NAME, b"abc")
    assert read(storage, NAME) == b"abc"


def test_a_name_too_long_for_the_file_system(local):
    with pytest.raises(StorageError, match="Use a shorter name"):
        local.put("x" * 256, b"abc")


def test_a_read_error_does_not_count_against_the_file(local):
    """Decoders treat an OSError as a damaged picture, but let a StorageError pass."""
    local.put(NAME, b"abc")
    for size in (-1, 1):
        with local.fetch(NAME) as stream:
            # A descriptor that the kernel refuses to read from simulates a failing disk.
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


def test_save_without_hard_links_never_overwrites(local, monkeypatch):
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


def test_concurrent_writers_of_the_same_name(local):
    """The file is always complete and from a single writer; each save gets a unique name."""
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


def test_an_upload_in_a_temporary_file_is_saved(local):
    with TemporaryUploadedFile("a.jpg", "image/jpeg", 3, None) as upload:
        upload.write(b"abc")
        assert read(local, local.save("a.jpg", upload)) == b"abc"


WRITER = """
    import io, os, sys, time, django
    from django.conf import settings
    settings.configure(); django.setup()
    from media_files.storage.local import LocalStorage

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
def test_a_killed_writer_leaves_the_old_file_and_a_temporary_to_sweep(local, moment, before):
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
    # Readers still see the old state, and the sweeper skips the temporary while its writer lives.
    assert local.sweep_temporaries(timedelta(0)) == 0
    assert len(list(local._incoming.iterdir())) == 1
    writer.send_signal(signal.SIGKILL)
    assert writer.wait() == -signal.SIGKILL
    assert files_under(Path(local.location, "proxy_image")) == ([] if before is None else ["a.jpg"])
    if before is not None:
        assert read(local, "proxy_image/a.jpg") == before
    assert local.sweep_temporaries(timedelta(0)) == 1
    assert list(local._incoming.iterdir()) == []


def test_only_old_temporaries_are_swept(local):
    local.put(NAME, b"abc")
    for age in (0, 3600, 7200):
        temporary = local._incoming / f"{age}.part"
        temporary.write_bytes(b"left")
        os.utime(temporary, (time.time() - age,) * 2)
    assert local.sweep_temporaries(timedelta(hours=1)) == 2
    assert [path.name for path in local._incoming.iterdir()] == ["0.part"]
    assert read(local, NAME) == b"abc"


def test_sweeping_an_empty_storage(local):
    assert local.sweep_temporaries(timedelta(0)) == 0
