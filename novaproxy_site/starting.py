"""What every process of the site does first: report wrong settings and require UTF-8 file names."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from environs import EnvError, EnvValidationError


@contextmanager
def wrong_settings_end_it(code: int) -> Iterator[None]:
    """Exit with ``code`` and a plain message, without a traceback, if a setting is invalid."""
    try:
        yield
    except (EnvError, ImproperlyConfigured) as error:
        sys.stderr.write(f"{_plainly(error)}\n")
        sys.exit(code)


def use_utf8_file_names() -> None:
    """Restart this process in Python's UTF-8 mode if the locale would encode file names differently.

    Every process must encode a stored file's name as the same bytes, and many locales cannot encode most
    names at all. Output keeps the terminal's own encoding. Child processes inherit the mode.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (the very same command)


def require_utf8_file_names() -> None:
    """Reject a locale that encodes file names other than in UTF-8.

    For processes that are not started by ``manage.py``, which calls `use_utf8_file_names` instead.

    Raises:
        ImproperlyConfigured: the file system encoding is not UTF-8.
    """
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise ImproperlyConfigured(
            f"File names would be spelled in {encoding} here and could not be found by other processes. "
            "Set PYTHONUTF8=1 or a UTF-8 locale such as LC_ALL=C.UTF-8."
        )


def _plainly(error: Exception) -> str:
    """Return the error as a sentence: environs would show its list of messages as a Python list."""
    if not isinstance(error, EnvValidationError) or not isinstance(error.error_messages, list):
        return str(error)
    variable = str(error).partition(" invalid:")[0]
    return f"{variable} is invalid: {' '.join(error.error_messages)}"
