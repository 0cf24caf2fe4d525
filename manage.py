#!/usr/bin/env python
"""Django's command line for NovaProxy."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError, EnvValidationError


def plainly(error: Exception) -> str:
    """What is wrong with a setting, in words: environs shows its lists of messages as Python writes them."""
    if not isinstance(error, EnvValidationError) or not isinstance(error.error_messages, list):
        return str(error)
    variable = str(error).partition(" invalid:")[0]
    return f"{variable} is invalid: {' '.join(error.error_messages)}"


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except (EnvError, ImproperlyConfigured) as error:
        # A setting that cannot be: said in its own words, not after a traceback.
        sys.stderr.write(f"{plainly(error)}\n")
        sys.exit(2)
