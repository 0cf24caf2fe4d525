"""Unread variables cause a warning: otherwise a misspelt one would silently leave the default in place."""

from __future__ import annotations

import pytest
from django.core.checks import run_checks


def found():
    return [message for message in run_checks() if str(message.id).startswith("novaproxy_site.")]


def test_variables_that_are_read_cause_no_warning(monkeypatch):
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
def test_variables_of_other_programs_cause_no_warning(monkeypatch, name):
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
def test_a_misspelt_variable_is_reported_with_the_closest_name(monkeypatch, name, meant):
    monkeypatch.setenv(name, "1")
    (message,) = found()
    assert (message.id, message.msg) == ("novaproxy_site.W001", f"No setting is read from {name}.")
    assert f"Is {meant} meant?" in message.hint


def test_a_variable_without_a_close_name_refers_to_the_list(monkeypatch):
    monkeypatch.setenv("NOVAPROXY_XYZZY", "1")
    (message,) = found()
    assert message.hint == "docs/settings.md lists all variables."


def test_misspelt_variables_in_the_file_are_reported_too(install, tmp_path):
    (tmp_path / "variables").write_text("NOVAPROXY_TARGTE=512\n")
    ended = install(NOVAPROXY_ENV_FILE=str(tmp_path / "variables")).manage("check")
    assert "novaproxy_site.W001" in ended.stderr
    assert "NOVAPROXY_TARGTE" in ended.stderr
