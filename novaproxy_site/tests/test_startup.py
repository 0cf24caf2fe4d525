"""Commands start quickly: what is heavy is loaded where it is used, and not before."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

# The S3 client, arrays, other image libraries, the decoders of single formats, and what serves the site.
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
    """The modules that ``manage.py`` has loaded at its end."""
    variables = clean_environment(os.environ) | {"NOVAPROXY_DATA_DIR": str(folder)} | environment
    del variables["DJANGO_SETTINGS_MODULE"]  # of the tests' own settings
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
def test_a_command_loads_nothing_heavy_before_it_is_used(tmp_path, arguments):
    """Nor the API, which with what it is made of takes a third of the time."""
    assert sorted(loaded_by(tmp_path, *arguments) & {*HEAVY, "psycopg", "rest_framework.serializers"}) == []


def test_the_check_which_looks_at_every_address_loads_nothing_heavy(tmp_path):
    assert sorted(loaded_by(tmp_path, "check") & HEAVY) == []


def test_the_s3_client_is_loaded_where_files_lie_in_a_bucket(tmp_path):
    """So that the test above would notice it."""
    used = loaded_by(
        tmp_path,
        "shell",
        "--command",
        "from media_files.models import originals_storage; originals_storage()",
        NOVAPROXY_ORIGINALS_BUCKET="photographs",
    )
    assert {"boto3", "botocore"} <= used
