"""Pages show the settings missing for analysis, without waiting for a server to find out."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client

from analysis.providers import aws
from analysis.readiness import Readiness, readiness
from analysis.tests.conftest import forget
from novaproxy_site.tests.admin_pages import staff_with, text_of
from novaproxy_site.tests.installation import wait_for

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _unasked() -> Iterator[None]:
    """Start each test in the state of a new process, without credentials."""
    forget()
    yield
    forget()


def front_page(client: Client) -> str:
    """Return the front page's text after a check has finished, even on a busy machine."""
    readiness.missing(patience=60)
    return text_of(client.get("/admin/"))


def test_the_front_page_lists_missing_settings(admin_client: Client) -> None:
    text = front_page(admin_client)
    assert "Analysis is not configured yet. Everything else works. Missing settings:" in text
    assert "AWS_ACCESS_KEY_ID" in text
    assert "NOVAPROXY_ANALYSIS_REGION" in text


@pytest.mark.parametrize(
    ("permission", "is_told"), [("media_files.view_mediafile", False), ("analysis.add_analysis", True)]
)
def test_only_users_who_may_analyse_see_missing_settings(permission: str, is_told: bool) -> None:
    assert ("AWS_ACCESS_KEY_ID" in front_page(staff_with(permission))) == is_told


def test_a_complete_setup_shows_no_warning(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "us-east-1")
    assert "Analysis is not set up" not in front_page(admin_client)


def test_a_missing_profile_is_named(admin_client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "mine")
    text = front_page(admin_client)
    assert "The AWS credentials cannot be read: The config profile (mine) could not be found." in text


def test_a_page_does_not_wait_for_a_slow_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, is_over = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_keep_waiting, args=(server, asked, is_over), daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "false")
        monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "60")
        found = Readiness()
        assert found.missing(patience=0.01) == []
        assert asked.wait(timeout=30)
        # The check is still running, and the next page does not wait for it either.
        assert found.missing() == []
        assert found._look is not None
        assert found._look.is_alive()
        is_over.set()
        wait_for(lambda: "AWS_ACCESS_KEY_ID" in " ".join(found.missing()), what="the look's end")
        thread.join()
    assert aws.missing_setup() == found.missing()


def _keep_waiting(server: Any, asked: threading.Event, is_over: threading.Event) -> None:
    """Accept connections and close them only at the end, without ever answering."""
    server.settimeout(0.1)
    taken = []
    while not is_over.is_set():
        try:
            taken.append(server.accept()[0])
        except TimeoutError:
            continue
        asked.set()
    server.close()
    for connection in taken:
        connection.close()
