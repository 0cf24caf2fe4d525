"""Settings: all documented, each read once, bad values reported in plain words."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()


def read_settings(folder: Path, source: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Import the settings as ``s`` in a separate process, and run ``source`` there."""
    variables = clean_environment(os.environ) | {"NOVAPROXY_DATA_DIR": str(folder)} | environment
    variables = {name: value for name, value in variables.items() if value != "unset"}
    return subprocess.run(
        [sys.executable, "-c", f"import novaproxy_site.settings as s; {source}"],
        env=variables, cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_settings_page_lists_exactly_the_variables_that_are_read(tmp_path):
    shown = read_settings(
        tmp_path,
        "print(*s.env.dump())",
        # Some variables are read only if these are set.
        NOVAPROXY_ORIGINALS_BUCKET="a",
        NOVAPROXY_PROXIES_BUCKET="b",
        NOVAPROXY_ANALYSIS_BUCKET="c",
    )
    read = set(shown.stdout.split())
    assert len(read) > 20, shown.stderr
    assert read == set(re.findall(r"^\| `([A-Z_0-9]+)` \|", SETTINGS_PAGE, re.MULTILINE))


def test_the_settings_page_shows_the_defaults(tmp_path):
    source = (
        "print(s.NOVAPROXY_TARGET, s.NOVAPROXY_LONGEST_SIDE, s.NOVAPROXY_QUALITY, s.NOVAPROXY_MAX_PIXELS)"
    )
    defaults = read_settings(tmp_path, source).stdout.split()
    assert defaults == ["896", "8000", "85", "250000000"]
    for name, value in zip(("TARGET", "LONGEST_SIDE", "QUALITY"), defaults, strict=False):
        assert re.search(rf"^\| `NOVAPROXY_{name}` \| `{value}` \|", SETTINGS_PAGE, re.MULTILINE)


class TestSecretKey:
    def test_it_is_generated_once_in_the_data_folder_and_owner_only(self, tmp_path):
        first = read_settings(tmp_path / "data", "print(s.SECRET_KEY)", SECRET_KEY="unset").stdout
        path = tmp_path / "data" / "secret_key"
        assert len(first.strip()) >= 50
        assert path.read_text() == first.strip()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert read_settings(tmp_path / "data", "print(s.SECRET_KEY)", SECRET_KEY="unset").stdout == first

    def test_two_libraries_have_different_keys(self, tmp_path):
        keys = {
            read_settings(tmp_path / name, "print(s.SECRET_KEY)", SECRET_KEY="unset").stdout for name in "ab"
        }
        assert len(keys) == 2

    def test_a_given_key_is_not_stored(self, tmp_path):
        read_settings(tmp_path / "data", "print(s.SECRET_KEY)", SECRET_KEY="given")
        assert not (tmp_path / "data" / "secret_key").exists()

    @pytest.mark.parametrize("given", ["/proc/nowhere", "/dev/null"], ids=["cannot be created", "a file"])
    def test_an_unusable_data_folder_is_reported(self, install, given):
        variables = {"NOVAPROXY_DATA_DIR": given, "DATABASE_URL": "sqlite://:memory:", "SECRET_KEY": ""}
        ended = install(**variables).manage("check", check=False)
        assert ended.returncode == 2
        assert ended.stderr.startswith(f"NOVAPROXY_DATA_DIR is {given}, which cannot hold the data: ")
        assert len(ended.stderr.splitlines()) == 1

    def test_it_is_required_without_debug(self, tmp_path):
        ended = read_settings(tmp_path, "", SECRET_KEY="unset", DEBUG="0")
        assert ended.returncode
        assert "SECRET_KEY is not set, and DEBUG is off." in ended.stderr
        assert read_settings(tmp_path, "", SECRET_KEY="x" * 50, DEBUG="0").returncode == 0


BAD = {
    "no number": ("NOVAPROXY_TARGET", "large"),
    "below the least": ("NOVAPROXY_TARGET", "0"),
    "above the most": ("NOVAPROXY_QUALITY", "96"),
    "no such word": ("NOVAPROXY_ON_SAVE", "later"),
    "no such resizer": ("NOVAPROXY_RESIZER", "magick"),
    "no truth": ("DEBUG", "perhaps"),
    "no broker": ("NOVAPROXY_BROKER", "rabbit"),
    "no database": ("DATABASE_URL", "novaproxy.sqlite3"),
    "no worker": ("NOVAPROXY_WORKERS", "0"),
    "a rate that lets nobody in": ("NOVAPROXY_API_RATE", "0/minute"),
    "no memory for any process": ("NOVAPROXY_MAX_MEMORY", "199"),
    "less than no memory": ("NOVAPROXY_MAX_MEMORY", "-1"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_invalid_value_is_reported_with_its_name_and_without_a_traceback(install, case):
    name, value = BAD[case]
    ended = install(**{name: value}).manage("check", check=False)
    assert ended.returncode == 2
    assert f'Environment variable "{name}" is invalid: ' in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "[" not in ended.stderr, "the message must be a sentence, not a Python list"


def test_valid_values_near_the_limits_are_accepted(tmp_path):
    for memory, rate in (("0", ""), ("200", "10/second")):
        shown = read_settings(
            tmp_path,
            "print(s.NOVAPROXY_MAX_MEMORY, s.NOVAPROXY_API_RATE, sep=',')",
            NOVAPROXY_MAX_MEMORY=memory,
            NOVAPROXY_API_RATE=rate,
        )
        assert shown.stdout == f"{memory},{rate}\n"


PROFILES = {
    "no object": "[]",
    "an unknown wish": '{"small": {"height": 512}}',
    "out of range": '{"small": {"quality": 500}}',
    "a name of ours": '{"nova": {}}',
    "no wishes": '{"a": 5}',
    "nothing for a number": '{"small": {"quality": null}}',
    "formats that are no words": '{"small": {"formats": [["JPEG"]]}}',
}


@pytest.mark.parametrize("case", PROFILES)
def test_invalid_profiles_are_rejected_at_startup(install, case):
    ended = install(NOVAPROXY_PROFILES=PROFILES[case]).manage("check", check=False)
    assert ended.returncode == 2
    assert "NOVAPROXY_PROFILES" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "value", "reported"),
    [
        ("DEBUG", "perhaps", 'Environment variable "DEBUG" is invalid: Not a valid boolean.'),
        ("NOVAPROXY_PROFILES", "[]", "NOVAPROXY_PROFILES is an object of profiles"),
    ],
)
def test_gunicorn_reports_the_same_and_exits(tmp_path, name, value, reported):
    environment = clean_environment(os.environ) | {
        "DJANGO_SETTINGS_MODULE": "novaproxy_site.settings",
        "NOVAPROXY_DATA_DIR": str(tmp_path),
        name: value,
    }
    command = [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket"]
    ended = subprocess.run(
        [*command, "novaproxy_site.wsgi"],
        env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert ended.returncode == 4
    assert reported in ended.stderr
    assert "Traceback" not in ended.stderr


def test_all_data_is_stored_in_the_data_folder(tmp_path):
    source = "print(s.DATABASES['default']['NAME'], s.STATIC_ROOT, s.MEDIA_ROOT)"
    places = read_settings(tmp_path, source, DATABASE_URL="unset").stdout.split()
    assert len(places) == 3
    assert all(Path(place).is_relative_to(tmp_path) for place in places)


def test_variables_can_be_set_in_a_file(tmp_path):
    (tmp_path / "variables").write_text("NOVAPROXY_TARGET=512\nNOVAPROXY_QUALITY=70\n")
    shown = read_settings(
        tmp_path,
        "print(s.NOVAPROXY_TARGET, s.NOVAPROXY_QUALITY)",
        NOVAPROXY_ENV_FILE=str(tmp_path / "variables"),
        NOVAPROXY_QUALITY="80",
    )
    assert shown.stdout == "512 80\n", "the environment must override the file"


def test_boto3_variables_can_be_set_in_the_file(tmp_path):
    (tmp_path / "variables").write_text("AWS_ACCESS_KEY_ID=from-the-file\n")
    shown = read_settings(
        tmp_path,
        "import boto3; print(boto3.Session().get_credentials().access_key)",
        NOVAPROXY_ENV_FILE=str(tmp_path / "variables"),
        AWS_SECRET_ACCESS_KEY="x",
    )
    assert shown.stdout == "from-the-file\n", shown.stderr


@pytest.mark.parametrize("name", ["nowhere", "."], ids=["missing", "a folder"])
def test_a_named_variables_file_must_exist(install, tmp_path, name):
    ended = install(NOVAPROXY_ENV_FILE=str(tmp_path / name)).manage("check", check=False)
    assert ended.returncode == 2
    assert f"NOVAPROXY_ENV_FILE names {tmp_path / name}, and no such file is there." in ended.stderr
    assert "Traceback" not in ended.stderr


def test_naming_a_variables_file_is_optional(install):
    assert install(NOVAPROXY_ENV_FILE="").manage("check").returncode == 0


@pytest.mark.parametrize(
    ("variables", "backend", "options"),
    [
        ({}, "LocalStorage", {"location"}),
        ({"NOVAPROXY_PROXIES_BUCKET": "b"}, "BucketStorage", {"bucket_name", "location"}),
    ],
    ids=["folder", "bucket"],
)
def test_a_storage_is_a_folder_or_a_bucket(tmp_path, variables, backend, options):
    shown = read_settings(
        tmp_path, "print(s.STORAGES['proxies']['BACKEND'], *s.STORAGES['proxies']['OPTIONS'])", **variables
    )
    found, *keys = shown.stdout.split()
    assert found.rpartition(".")[2] == backend
    assert options <= set(keys)


@pytest.mark.parametrize(
    ("query", "options"),
    [("", "-c jit=off"), ("?options=-c%20work_mem=8MB", "-c work_mem=8MB")],
)
def test_postgresql_jit_is_off_unless_options_are_given(tmp_path, query, options):
    source = "print(s.DATABASES['default']['OPTIONS'].get('options', ''))"
    shown = read_settings(tmp_path, source, DATABASE_URL=f"postgres://user@host/name{query}")
    assert shown.stdout == f"{options}\n"
