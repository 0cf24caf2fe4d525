"""How commands report database errors: outages, wrong settings, and bugs in this program."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.management import call_command
from django.db import DataError, OperationalError, ProgrammingError, connection

from media_files.console import UsageError


class Failing:
    """Raise an error for every statement."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, *args: Any) -> Any:
        raise self.error


def run_with(error: Exception) -> None:
    with connection.execute_wrapper(Failing(error)):
        call_command("create_image_proxies")


@pytest.mark.django_db(transaction=True)
def test_a_lost_connection_is_not_reported_as_a_wrong_setting(capsys, monkeypatch):
    with pytest.raises(SystemExit) as end:
        run_with(OperationalError("server closed the connection"))
    assert end.value.code == 130
    said = capsys.readouterr().err
    assert "Lost the connection to the database: server closed the connection" in said
    assert "DATABASE_URL" not in said


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("error", [DataError("no such value"), ProgrammingError("syntax error")])
def test_a_bug_is_shown_with_its_traceback(error):
    with pytest.raises(type(error)):
        run_with(error)


@pytest.mark.django_db(transaction=True)
def test_missing_tables_suggest_a_migration():
    with pytest.raises(
        UsageError, match=r"lacks tables or columns: no such table: x\nRun `manage.py migrate`"
    ):
        run_with(OperationalError("no such table: x"))


def test_an_unreachable_server_suggests_checking_the_setting(installation):
    ended = installation.manage(
        "create_image_proxies", check=False, environment={"DATABASE_URL": "postgres://127.0.0.1:1/nowhere"}
    )
    assert ended.returncode == 2
    assert "Is DATABASE_URL right?" in ended.stderr
