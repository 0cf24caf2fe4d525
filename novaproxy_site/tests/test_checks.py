"""Variables that nothing reads are told of: they would leave a default where somebody wanted another."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks


def found():
    return [message for message in run_checks() if str(message.id).startswith("novaproxy_site.")]


def test_nothing_is_told_of_variables_that_are_read(monkeypatch):
    for name in ("NOVAPROXY_TARGET", "NOVAPROXY_ANALYSIS_BUCKET", "NOVAPROXY_ENV_FILE", "NOVAPROXY_API_RATE"):
        monkeypatch.setenv(name, "1")
    assert found() == []


@pytest.mark.parametrize(
    "name",
    [
        "NOVAPROXY_TEST_REQUIRE",
        "NOVAPROXY_CHAOS_SEED",
        "NOVAPROXY_WORKER_RUN",
        "PATH",
        "DEBUGGER",
        "DATABASE_HOST",
        "TZ",
        "DB_URL",
        "XDG_SESSION_ID",
        "AWS_SECRET_ACCESS_KEY",
    ],
)
def test_nor_of_those_that_others_read(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert found() == []


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("NOVAPROXY_TARGETS", "NOVAPROXY_TARGET"),
        ("NOVAPROXY_QUALTY", "NOVAPROXY_QUALITY"),
        ("NOVAPROXY_ORIGINAL_BUCKET", "NOVAPROXY_ORIGINALS_BUCKET"),
        ("novaproxy_on_save", "NOVAPROXY_ON_SAVE"),
        ("ALLOWED_HOST", "ALLOWED_HOSTS"),
        ("SECURE_COOKIE", "SECURE_COOKIES"),
        ("allowed_hosts", "ALLOWED_HOSTS"),
        ("TIMEZONE", "TIME_ZONE"),
        ("SECRETKEY", "SECRET_KEY"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("CSRF_TRUSTED_ORIGIN", "CSRF_TRUSTED_ORIGINS"),
    ],
)
def test_a_misspelt_variable_is_named_with_the_nearest(monkeypatch, name, meant):
    monkeypatch.setenv(name, "1")
    (message,) = found()
    assert (message.id, message.msg) == ("novaproxy_site.W001", f"No setting is read from {name}.")
    assert f"Is {meant} meant?" in message.hint


def test_one_that_is_near_to_none_leads_to_the_list(monkeypatch):
    monkeypatch.setenv("NOVAPROXY_XYZZY", "1")
    (message,) = found()
    assert message.hint == "docs/settings.md lists all variables."


def test_it_is_said_whether_it_stands_in_the_environment_or_in_the_file(install, tmp_path):
    (tmp_path / "variables").write_text("NOVAPROXY_TARGTE=512\n")
    ended = install(NOVAPROXY_ENV_FILE=str(tmp_path / "variables")).manage("check")
    assert "novaproxy_site.W001" in ended.stderr
    assert "NOVAPROXY_TARGTE" in ended.stderr
