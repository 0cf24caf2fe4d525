"""The other end of `novaproxy_site.tests.installation.Console`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback


def serve() -> None:
    """Set up Django, then run Python sources read as JSON lines from standard input until it ends."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "novaproxy_site.settings"
    django.setup()
    from django.db import connections

    # Keep the answers apart from anything that the sources or libraries print to standard output.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        printed, error = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(printed):
                exec(json.loads(line), {"__name__": "__console__"})  # noqa: S102 (that is its purpose)
        except Exception:  # noqa: BLE001 (reported to the test, which then fails)
            error = traceback.format_exc()
        finally:
            # So that the next source sees others' commits and survives a server restart.
            connections.close_all()
        answers.write(json.dumps([printed.getvalue(), error]) + "\n")
        answers.flush()
