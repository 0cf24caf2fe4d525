"""Faults injected into real parts: SQL statements and storage calls that fail on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection

from media_files.storage.local import LocalStorage


@contextmanager
def failing_sql(error: Exception, *words: str, parameter: Any = None) -> Iterator[list[str]]:
    """Raise ``error`` for each statement that contains all ``words`` and, if given, has the parameter.

    Yields the statements that failed.
    """
    failed: list[str] = []

    def execute(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        has_parameter = parameter is None or parameter in (parameters or ())
        if all(word in sql for word in words) and has_parameter:
            failed.append(sql)
            raise error
        return run(sql, parameters, many, context)

    with connection.execute_wrapper(execute):
        yield failed


@contextmanager
def around_sql(
    *words: str, before: Callable[[], Any] = int, after: Callable[[], Any] = int
) -> Iterator[None]:
    """Call ``before`` or ``after`` around the first statement that contains all ``words``."""
    met: list[str] = []

    def execute(run: Callable[..., Any], sql: str, parameters: Any, many: bool, context: Any) -> Any:
        if met or not all(word in sql for word in words):
            return run(sql, parameters, many, context)
        met.append(sql)
        before()
        result = run(sql, parameters, many, context)
        after()
        return result

    with connection.execute_wrapper(execute):
        yield
    assert met, f"no statement contains {words}"


@contextmanager
def failing_storage(monkeypatch: Any, call: str, error: BaseException, part_of_name: str) -> Iterator[None]:
    """Raise ``error`` when the folder storage's ``call`` (``fetch``, ``put``) gets a name with this part."""
    whole = getattr(LocalStorage, call)

    def fail(self: LocalStorage, name: str, *args: Any, **kwargs: Any) -> Any:
        if part_of_name in name:
            raise error
        return whole(self, name, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, call, fail)
        yield
