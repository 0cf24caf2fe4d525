#!/usr/bin/env python
"""Django's command line for NovaProxy."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from environs import EnvError

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
    try:
        execute_from_command_line(sys.argv)
    except (EnvError, ImproperlyConfigured) as error:
        # A setting that cannot be: said in its own words, not after a traceback.
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
