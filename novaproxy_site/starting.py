"""What every process of the site begins with: settings, which may be wrong."""

from __future__ import annotations

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


def _plainly(error: Exception) -> str:
    """What is wrong, in words: environs shows its lists of messages as Python writes them."""
    if not isinstance(error, EnvValidationError) or not isinstance(error.error_messages, list):
        return str(error)
    variable = str(error).partition(" invalid:")[0]
    return f"{variable} is invalid: {' '.join(error.error_messages)}"
