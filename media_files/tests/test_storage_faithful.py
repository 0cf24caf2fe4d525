"""After each write, the stored object is compared with what was sent, for servers that alter the body."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from media_files.errors import StorageError
from media_files.models import MediaFile
from media_files.storage.base import is_amazon_endpoint
from media_files.storage.s3 import BucketStorage
from media_files.tests.literal_s3 import LiteralS3, as_sent, literal_s3, md5, md5_of_stored
from media_files.tests.pictures import jpeg

NAME = "original/ab/photo.jpg"
CONTENT = os.urandom(70_000)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiteralS3]:
    with literal_s3(tmp_path_factory.mktemp("literal-s3")) as server:
        yield server


@pytest.fixture
def literal(server: LiteralS3) -> Iterator[LiteralS3]:
    server.objects.clear()
    server.methods.clear()
    yield server
    server.store, server.etag = as_sent, md5_of_stored


def stored(literal: LiteralS3) -> list[bytes]:
    return list(literal.objects.values())


@pytest.mark.parametrize("content", [CONTENT, io.BytesIO(CONTENT)], ids=["bytes", "stream"])
def test_a_server_without_chunked_trailers_stores_the_bytes_sent(literal, content):
    storage = BucketStorage(**literal.options("small"))
    storage.put(NAME, content)
    assert stored(literal) == [CONTENT]
    with storage.fetch(NAME) as stream:
        assert stream.read() == CONTENT


def test_a_server_configured_by_environment_stores_the_bytes_sent(literal, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", literal.endpoint)
    options = literal.options()
    del options["endpoint_url"]
    BucketStorage(**options).put(NAME, CONTENT)
    assert stored(literal) == [CONTENT]


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "framed": lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body),
    "cut-off": lambda body: body[:-1],
    "empty": lambda body: b"",
}


@pytest.mark.parametrize("write", ["put", "save"])
@pytest.mark.parametrize("etag", ["of-stored", "of-sent", "of-its-own"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrongly_stored_body_is_an_error_that_names_the_setting(literal, damage, etag, write):
    literal.store = DAMAGE[damage]
    answers = {"of-sent": lambda body, stored: md5(body), "of-its-own": lambda body, stored: "some-tag-1"}
    literal.etag = answers.get(etag, md5_of_stored)
    storage = BucketStorage(**literal.options())
    with pytest.raises(StorageError, match=r"endpoint_url.*") as raised:
        storage.put(NAME, CONTENT) if write == "put" else storage.save(NAME, io.BytesIO(CONTENT))
    assert "70,000" in str(raised.value)
    assert not literal.objects, "the damaged object is deleted again"


def test_different_bytes_of_the_same_size_are_detected_by_the_etag(literal):
    literal.store = lambda body: body[:-1] + bytes([body[-1] ^ 1])
    with pytest.raises(StorageError):
        BucketStorage(**literal.options()).put(NAME, CONTENT)


def test_without_md5_etags_the_size_is_checked_after_every_write(literal):
    literal.etag = lambda body, stored: "generation-17"
    storage = BucketStorage(**literal.options())
    for _ in range(2):
        storage.put(NAME, CONTENT)
    assert literal.methods == ["PUT", "HEAD", "PUT", "HEAD"]


def test_with_md5_etags_the_size_is_checked_after_the_first_write_of_a_process(literal):
    storage = BucketStorage(**literal.options())
    for _ in range(3):
        storage.put(NAME, CONTENT)
    assert literal.methods == ["PUT", "HEAD", "PUT", "PUT"]


@pytest.mark.django_db(transaction=True)
def test_a_wrongly_stored_original_leaves_no_row(literal, settings, add, off) -> None:
    literal.store = DAMAGE["framed"]
    backend = {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": literal.options("library")}
    settings.STORAGES = settings.STORAGES | {"originals": backend}
    with pytest.raises(StorageError, match="NOVAPROXY_ORIGINALS_ENDPOINT"):
        add(jpeg())
    assert not MediaFile.objects.exists()


def test_the_import_command_stores_the_bytes_unchanged(
    install: Callable[..., Any], literal: LiteralS3, tmp_path: Path
) -> None:
    photos = {f"{number}.jpg": jpeg(seed=number) for number in range(2)}
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, content in photos.items():
        (folder / name).write_bytes(content)
    places = literal.environment("originals") | literal.environment("proxies")
    installation = install("sqlite", NOVAPROXY_ON_SAVE="inline", **places)
    installation.manage("import_media", folder)
    originals = {bytes_ for path, bytes_ in literal.objects.items() if "/originals/" in path}
    assert originals == set(photos.values())
    proxies = [bytes_ for path, bytes_ in literal.objects.items() if "/proxies/" in path]
    assert len(proxies) == 2
    assert all(proxy[:2] == b"\xff\xd8" and proxy[-2:] == b"\xff\xd9" for proxy in proxies)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        (None, True),
        ("https://s3.eu-central-1.amazonaws.com", True),
        ("https://s3.cn-north-1.amazonaws.com.cn", True),
        ("https://s3.dualstack.eu-west-1.api.aws", True),
        ("http://127.0.0.1:9000", False),
        ("https://amazonaws.com.example.org", False),
        ("https://notamazonaws.com", False),
    ],
)
def test_amazon_endpoints_are_recognized(endpoint: str | None, expected: bool) -> None:
    assert is_amazon_endpoint(endpoint) is expected
