"""Commands start quickly: heavy modules are imported only where they are used."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

# The S3 client, arrays, other image libraries, decoders of single formats, and the web server.
HEAVY = {
    "boto3", "botocore", "storages.backends.s3", "numpy", "imagecodecs", "pyvips", "cv2",
    "pillow_heif", "pi_heif",
    "PIL.PngImagePlugin", "PIL.WebPImagePlugin", "PIL.AvifImagePlugin",
    "gunicorn", "honcho",
}  # fmt: skip
SOURCE = """
import atexit, json, runpy, sys
sys.argv = ["manage.py", *sys.argv[1:]]
atexit.register(lambda: print("\\n" + json.dumps(sorted(sys.modules)), file=sys.stderr))
runpy.run_path("manage.py", run_name="__main__")
"""


def loaded_by(folder: Path, *arguments: str, **environment: str) -> set[str]:
    """Return the modules that ``manage.py`` has loaded when it ends."""
    variables = clean_environment(os.environ) | {"NOVAPROXY_DATA_DIR": str(folder)} | environment
    del variables["DJANGO_SETTINGS_MODULE"]  # it names the tests' own settings
    done = subprocess.run(
        [sys.executable, "-c", SOURCE, *arguments],
        env=variables,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(
    "arguments",
    [["create_image_proxies", "--help"], ["import_media", "--help"], ["worker", "--help"]],
    ids=" ".join,
)
def test_command_help_loads_no_heavy_modules(tmp_path, arguments):
    """Nor the API, which with its dependencies would take a third of the time."""
    assert sorted(loaded_by(tmp_path, *arguments) & {*HEAVY, "psycopg", "rest_framework.serializers"}) == []


def test_the_check_of_all_urls_loads_no_heavy_modules(tmp_path):
    assert sorted(loaded_by(tmp_path, "check") & HEAVY) == []


def test_the_s3_client_is_loaded_if_files_are_in_a_bucket(tmp_path):
    """Proves that the tests above would notice it."""
    used = loaded_by(
        tmp_path,
        "shell",
        "--command",
        "from media_files.models import originals_storage; originals_storage()",
        NOVAPROXY_ORIGINALS_BUCKET="photographs",
    )
    assert {"boto3", "botocore"} <= used
