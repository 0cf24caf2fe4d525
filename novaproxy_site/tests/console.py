"""The other end of `novaproxy_site.tests.installation.Console`."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import traceback


def serve() -> None:
    """Set up Django and run the sources that come in as lines of JSON, until there are no more."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "novaproxy_site.settings"
    django.setup()
    from django.db import connections

    # What the sources print, and what else writes to standard output, must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        printed, error = io.StringIO(), ""
        try:
            with contextlib.redirect_stdout(printed):
                exec(json.loads(line), {"__name__": "__console__"})  # noqa: S102 (it is what this is for)
        except Exception:  # noqa: BLE001 (told to the test, which fails with it)
            error = traceback.format_exc()
        finally:
            # The next source sees what others have committed, and a server that was restarted.
            connections.close_all()
        answers.write(json.dumps([printed.getvalue(), error]) + "\n")
        answers.flush()
