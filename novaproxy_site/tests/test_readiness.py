"""What /readyz and ``check --deploy`` report about the database, the storages and the job queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import OperationalError, connection
from django.test import Client

from media_files.storage.local import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.literal_s3 import LiteralS3, literal_s3
from novaproxy_site.readiness import storage_probe
from novaproxy_site.tests.installation import Installation

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_remembered() -> Iterator[None]:
    storage_probe.forget()
    yield
    storage_probe.forget()


@pytest.fixture
def no_folder(folders: dict[str, Path]) -> Path:
    """Put a file where the folder of proxies should be."""
    folders["proxies"].parent.mkdir(parents=True)
    folders["proxies"].write_bytes(b"")
    return folders["proxies"]


def test_readyz_is_200_if_everything_responds(client: Client, folders: dict[str, Path]) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        200,
        {
            "status": "ready",
            "database": "ok",
            "queue": "ok",
            "storages": {"originals": "ok", "proxies": "ok"},
        },
    )
    assert not any(files_in(folder) for folder in folders.values()), "a probe must leave nothing behind"


def test_an_unwritable_storage_is_named_without_its_path(client: Client, no_folder: Path) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["storages"] == {"originals": "ok", "proxies": "storage"}
    assert str(no_folder.parent) not in answer.content.decode()


def test_a_storage_that_alters_bytes_is_named(
    client: Client, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStorage.put
    monkeypatch.setattr(LocalStorage, "put", lambda self, name, content: put(self, name, content[:-1]))
    assert client.get("/readyz").json()["storages"] == {"originals": "storage", "proxies": "storage"}
    messages = [
        message for message in run_checks(include_deployment_checks=True) if message.id == "media_files.E004"
    ]
    assert len(messages) == 2
    assert "4,095 other bytes" in messages[0].msg


def test_the_probe_result_is_cached_for_some_seconds(
    client: Client, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    put = LocalStorage.put

    def count(self: LocalStorage, name: str, content: bytes) -> Any:
        names.append(name)
        return put(self, name, content)

    monkeypatch.setattr(LocalStorage, "put", count)
    for _ in range(5):
        client.get("/readyz")
    assert len(names) == 2


def test_readyz_reports_an_unresponsive_database(
    client: Client, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise OperationalError("could not connect to 10.0.0.1")

    monkeypatch.setattr(connection, "cursor", refuse)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["database"]) == (503, "database")
    assert b"10.0.0.1" not in answer.content


@pytest.mark.redis
def test_readyz_reports_an_unresponsive_broker(install: Callable[..., Installation]) -> None:
    installation = install("sqlite", NOVAPROXY_BROKER="redis://127.0.0.1:1/0")
    found = installation.shell(
        "from django.test import Client; a = Client().get('/readyz', headers={'host': 'localhost'});"
        "print(a.status_code, a.json()['queue'])"
    )
    assert found.split() == ["503", "queue"]


@pytest.fixture
def literal(tmp_path: Path) -> Iterator[LiteralS3]:
    with literal_s3(tmp_path) as server:
        yield server


def test_the_check_names_the_setting_of_a_server_that_alters_bodies(
    folders: dict[str, Path], settings: Any, literal: LiteralS3
) -> None:
    literal.store = lambda body: b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    options = literal.options("small")
    settings.STORAGES = settings.STORAGES | {
        "proxies": {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": options}
    }
    assert not run_checks(tags=["storages"]), "it sends requests to a server, so it must run only on demand"
    (message,) = run_checks(tags=["storages"], include_deployment_checks=True)
    assert message.id == "media_files.E004"
    assert "NOVAPROXY_PROXIES_ENDPOINT" in message.msg
