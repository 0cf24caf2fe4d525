#!/usr/bin/env python
"""Django's command line for NovaProxy."""

import os
import sys

from django.core.management import execute_from_command_line

from novaproxy_site.starting import use_utf8_file_names, wrong_settings_end_it

if __name__ == "__main__":
    use_utf8_file_names()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
    with wrong_settings_end_it(2):
        execute_from_command_line(sys.argv)
