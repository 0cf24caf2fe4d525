"""What every process of the site begins with: settings, which may be wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.exceptions import ImproperlyConfigured
from environs import EnvError, EnvValidationError


@contextmanager
def wrong_settings_end_it(code: int) -> Iterator[None]:
    """A setting that cannot be ends the process with ``code``, in its own words and without a traceback."""
    try:
        yield
    except (EnvError, ImproperlyConfigured) as error:
        sys.stderr.write(f"{_plainly(error)}\n")
        sys.exit(code)


def use_utf8_file_names() -> None:
    """Start this process again in Python's UTF-8 mode where the locale would spell file names differently.

    Every process must spell a stored file's name with the same bytes, and in many locales most names cannot
    be spelled at all. What is printed stays in the terminal's own encoding. Processes started by this one
    inherit the mode.
    """
    if sys.getfilesystemencoding() == "utf-8":
        return
    os.environ.setdefault("PYTHONIOENCODING", f"{sys.stdout.encoding}:backslashreplace")
    os.environ["PYTHONUTF8"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 (the very same command)


def require_utf8_file_names() -> None:
    """Refuse a locale that spells file names in another encoding than UTF-8.

    Raises:
        ImproperlyConfigured: for processes that are not started by ``manage.py``, which sees to it itself.
    """
    if (encoding := sys.getfilesystemencoding()) != "utf-8":
        raise ImproperlyConfigured(
            f"File names would be spelled in {encoding} here and could not be found by other processes. "
            "Set PYTHONUTF8=1 or a UTF-8 locale such as LC_ALL=C.UTF-8."
        )


def _plainly(error: Exception) -> str:
    """What is wrong, in words: environs shows its lists of messages as Python writes them."""
    if not isinstance(error, EnvValidationError) or not isinstance(error.error_messages, list):
        return str(error)
    variable = str(error).partition(" invalid:")[0]
    return f"{variable} is invalid: {' '.join(error.error_messages)}"
