"""Every process encodes file names in UTF-8, regardless of the locale."""

from __future__ import annotations

import subprocess
import sys

from novaproxy_site.tests.installation import ROOT
from proxies.tests.test_crew import NOT_UTF8


def test_the_site_refuses_to_start_without_utf8_file_names(installation):
    ended = subprocess.run(
        [sys.executable, "-c", "import novaproxy_site.wsgi"],
        env=installation.environment | NOT_UTF8,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 4
    assert "PYTHONUTF8=1" in ended.stderr
    assert "Traceback" not in ended.stderr
