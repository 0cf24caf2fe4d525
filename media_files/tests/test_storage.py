"""The common behaviour of both storages, with a real S3 server."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import textwrap
import time

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile

from media_files.errors import DamagedFile, SourceMissing
from media_files.storage.base import Stored, media_storage
from media_files.storage.local import LocalStorage
from media_files.storage.s3 import BucketStorage
from media_files.tests.storages import NAME, Failing, Unseekable, read

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


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(lambda: b"abc", id="bytes"),
        pytest.param(lambda: io.BytesIO(b"abc"), id="stream"),
        pytest.param(lambda: Unseekable(b"abc"), id="unseekable"),
        pytest.param(lambda: ContentFile(b"abc"), id="django-file"),
    ],
)
def test_fetch_returns_what_was_put(storage, content):
    stored = storage.put(NAME, content())
    assert (stored.name, stored.bytes) == (NAME, 3)
    assert read(storage, NAME) == b"abc"
    assert storage.stat(NAME) == stored


def test_put_reads_a_stream_from_its_beginning_and_leaves_it_open(storage):
    stream = io.BytesIO(b"abc")
    stream.read()
    storage.put(NAME, stream)
    assert read(storage, NAME) == b"abc"
    assert not stream.closed


def test_an_empty_file(storage):
    assert storage.put(NAME, b"").bytes == 0
    assert read(storage, NAME) == b""


def test_put_replaces_an_existing_file(storage):
    storage.put(NAME, b"a longer first content")
    storage.put(NAME, b"second")
    assert read(storage, NAME) == b"second"


def test_a_reader_keeps_the_file_it_opened(storage):
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
def test_invalid_names_are_rejected(storage, name):
    with pytest.raises(SuspiciousFileOperation):
        storage.put(name, b"abc")
    with pytest.raises(SuspiciousFileOperation):
        storage.fetch(name)


@pytest.mark.parametrize("operation", ["fetch", "stat", "size", "open"])
def test_a_missing_file_is_reported(storage, operation):
    with pytest.raises(SourceMissing, match=r"nothing\.jpg.*delete its row"):
        getattr(storage, operation)("nothing.jpg")


def test_deleting_a_missing_file_is_no_error(storage):
    storage.delete("nothing.jpg")


def test_save_never_overwrites(storage):
    first = storage.save("a.jpg", ContentFile(b"first"))
    second = storage.save("a.jpg", ContentFile(b"second"))
    assert first == "a.jpg"
    assert second != first
    assert (read(storage, first), read(storage, second)) == (b"first", b"second")


def test_save_never_overwrites_a_name_taken_in_the_meantime(storage, monkeypatch):
    storage.put("a.jpg", b"first")
    # Both writers found the name free; now the second one writes.
    real = type(storage).get_available_name
    answers = iter(["a.jpg"])
    monkeypatch.setattr(
        storage, "get_available_name", lambda name, *a, **k: next(answers, "") or real(storage, name, *a, **k)
    )
    second = storage.save("a.jpg", ContentFile(b"second"))
    assert second != "a.jpg"
    assert (read(storage, "a.jpg"), read(storage, second)) == (b"first", b"second")


def test_open_works_like_in_django(storage):
    storage.put(NAME, b"line 1\nline 2\n")
    with storage.open(NAME) as file:
        assert list(file) == [b"line 1\n", b"line 2\n"]
    assert storage.size(NAME) == 14


def test_an_error_in_the_callers_stream_keeps_the_old_file(storage):
    storage.put(NAME, b"old")
    with pytest.raises(ValueError, match="not mine"):
        storage.put(NAME, Failing(ValueError("not mine")))
    assert read(storage, NAME) == b"old"


def test_local_storage_does_not_import_boto3():
    """Importing it takes 0.3 s and 30 MB per process."""
    source = """
        import sys, django
        from django.conf import settings
        settings.configure(STORAGES={"originals": {"BACKEND": "media_files.storage.local.LocalStorage"}})
        django.setup()
        from media_files.storage.base import media_storage
        media_storage("originals")
        print("boto3" in sys.modules or "botocore" in sys.modules)
    """
    assert subprocess.check_output([sys.executable, "-c", textwrap.dedent(source)], text=True) == "False\n"


def test_an_unsupported_storage_backend_is_rejected(settings):
    settings.STORAGES = settings.STORAGES | {
        "originals": {"BACKEND": "django.core.files.storage.FileSystemStorage"}
    }
    with pytest.raises(ImproperlyConfigured, match=r"STORAGES\['originals'\] is FileSystemStorage"):
        media_storage("originals")


def test_an_alias_can_use_either_backend(settings, tmp_path):
    settings.STORAGES = settings.STORAGES | {
        "originals": {
            "BACKEND": "media_files.storage.local.LocalStorage",
            "OPTIONS": {"location": str(tmp_path)},
        },
        "proxies": {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": {"bucket_name": "b"}},
    }
    assert isinstance(media_storage("originals"), LocalStorage)
    assert isinstance(media_storage("proxies"), BucketStorage)


def test_stored_objects_compare_by_value():
    assert Stored("a", 1) == Stored("a", 1, "", "")


def test_walk_lists_the_files_below_a_folder_with_their_sizes(storage):
    for name in ("a/1.jpg", "a/b/2.jpg", "a/ä c.jpg", "ab/3.jpg", "4.jpg"):
        storage.put(name, name.encode())
    found = {file.name: file for file in storage.walk("a")}
    assert {name: file.bytes for name, file in found.items()} == {
        "a/1.jpg": 7,
        "a/b/2.jpg": 9,
        "a/ä c.jpg": 10,
    }
    assert all(abs(file.modified_at - time.time()) < 60 for file in found.values())
    assert list(storage.walk("nothing/here")) == []


def test_a_stored_file_is_checked_by_size_and_by_hash(storage):
    stored = storage.put(NAME, b"abc")
    sha256 = hashlib.sha256(b"abc").hexdigest()
    storage.check_stored(NAME, size=3, sha256=sha256, etag=stored.etag)
    storage.check_content(NAME, size=3, sha256=sha256)
    with pytest.raises(DamagedFile, match="3 bytes where 4"):
        storage.check_stored(NAME, size=4, sha256=sha256)
    with pytest.raises(DamagedFile, match="SHA-256"):
        storage.check_content(NAME, size=3, sha256="0" * 64)
    with pytest.raises(SourceMissing):
        storage.check_stored("another", size=3, sha256=sha256)
