"""S3 storage on a real server: one request per read or write, and named errors."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import threading
import urllib.request
from datetime import timedelta

import pytest
from django.core.exceptions import SuspiciousFileOperation
from django.core.files.base import ContentFile

from media_files.errors import FileTooLarge, SourceMissing, StorageError
from media_files.storage.base import SourceChanged
from media_files.storage.s3 import BucketStorage
from media_files.tests.storages import LARGE, NAME, Unseekable, read


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
def test_open_is_one_request_and_save_checks_for_a_free_name_first(remote, relay):
    assert remote.save(NAME, ContentFile(b"abc")) == NAME
    assert relay.methods == ["HEAD", "PUT"]
    relay.requests.clear()
    with remote.open(NAME) as file:
        assert file.read() == b"abc"
    assert relay.methods == ["GET"]


@pytest.mark.s3
def test_requests_use_signature_version_4(remote, relay):
    remote.put(NAME, b"abc")
    assert relay.requests[0].headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")


@pytest.mark.s3
def test_a_large_body_is_kept_on_disk(relayed_bucket):
    storage = BucketStorage(**relayed_bucket.options(), max_memory_size=1000)
    for size, on_disk in ((1000, False), (1001, True)):
        storage.put(NAME, b"x" * size)
        with storage.fetch(NAME) as stream:
            assert vars(stream)["_rolled"] is on_disk
            assert len(stream.read()) == size


@pytest.mark.s3
def test_a_changed_object_is_reported(remote):
    etag = remote.put(NAME, b"first").etag
    remote.put(NAME, b"second")
    with pytest.raises(SourceChanged, match=r"another object has that name now") as raised:
        remote.fetch(NAME, etag=etag)
    assert raised.value.most_tries < StorageError.most_tries
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
def test_without_a_prefix_the_key_is_the_name(bucket):
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
def test_open_for_writing_is_rejected(remote, mode):
    with pytest.raises(ValueError, match=r"use put\(\) or save\(\)"):
        remote.open(NAME, mode)


@pytest.mark.s3
def test_listing_and_sweeping_a_bucket(remote):
    remote.put(NAME, b"abc")
    assert remote.listdir("") == (["proxy_image"], [])
    assert remote.sweep_temporaries(timedelta(0)) == 0


@pytest.mark.s3
@pytest.mark.parametrize("name", ["x" * 1025, "\ud800.jpg"], ids=["1025-bytes", "no-utf-8"])
def test_invalid_keys_are_rejected(remote, relay, name):
    with pytest.raises(SuspiciousFileOperation):
        remote.put(name, b"abc")
    assert relay.requests == []


@pytest.mark.s3
def test_a_body_over_the_limit_of_one_request(remote, relay):
    class Huge(io.BytesIO):
        def tell(self) -> int:
            return 5 * 1024**3 + 1

    with pytest.raises(FileTooLarge, match="register it in place"):
        remote.put(NAME, Huge(b"abc"))
    assert relay.requests == []


@pytest.mark.s3
def test_a_temporary_server_error_is_retried(remote, relay):
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
        (403, "AccessDenied", "Check the clock, the credentials"),
        (403, "InvalidObjectState", "archived"),
        (404, "NoSuchBucket", "Create the bucket"),
        (400, "InvalidRequest", "worth a retry"),
    ],
)
def test_server_errors_explain_what_to_do(remote, relay, *, status, code, advice):
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
    with pytest.raises(StorageError, match="Check the clock, the credentials"):
        storage.put(NAME, b"abc")


def test_no_credentials_at_all(bucket):
    storage = BucketStorage(**bucket.options() | {"access_key": None, "secret_key": None})
    with pytest.raises(StorageError, match=r"Unable to locate credentials.*Check the endpoint"):
        storage.put(NAME, b"abc")


@pytest.mark.s3
def test_a_truncated_response_body(remote, relay):
    remote.put(NAME, b"abc")
    relay.fault = lambda request: relay.answer(200, b"only a part", length=1000)
    with pytest.raises(StorageError, match="Could not read"):
        remote.fetch(NAME)


def test_an_unreachable_endpoint():
    storage = BucketStorage(
        bucket_name="b", endpoint_url="http://127.0.0.1:1", region_name="x", access_key="k", secret_key="s"
    )
    with pytest.raises(StorageError, match="Check the endpoint"):
        storage.exists(NAME)


def test_an_invalid_endpoint():
    storage = BucketStorage(bucket_name="b", endpoint_url="nonsense", access_key="k", secret_key="s")
    with pytest.raises(StorageError, match="Check the storage's region and endpoint"):
        storage.put(NAME, b"abc")


@pytest.mark.s3
def test_a_full_disk_for_temporary_files(remote, monkeypatch):
    remote.put(NAME, b"abc")

    def full(self, chunk):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.SpooledTemporaryFile.write", full)
    with pytest.raises(StorageError, match=r"No space left on device.*TMPDIR"):
        remote.fetch(NAME)


@pytest.mark.s3
def test_each_process_has_one_client_shared_by_its_threads(remote):
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
        # The child must never run the rest of pytest a second time.
        ours = remote.client is not clients[0] and read(remote, NAME) == b"abc"
        os._exit(0 if ours else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert remote.client is clients[0]


def error_document(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>made up</Message></Error>".encode()
