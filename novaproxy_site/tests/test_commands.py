"""What all commands have in common, as a shell sees them."""

from __future__ import annotations

import pytest

from media_files.tests.fixtures import tree

COMMANDS = {
    "dry run": ["create_image_proxies"],
    "real run": ["create_image_proxies", "--no-dry-run"],
    "JSON": ["create_image_proxies", "--json"],
    "import": ["import_media", "."],
    "analysis": ["analyze_images"],
    "worker": ["worker"],
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_library_that_is_not_set_up_is_left_as_it_is(install, case):
    installation = install()
    (installation.folder / "novaproxy.sqlite3").unlink()
    installation.manage("check")
    before = tree(installation.folder)
    ended = installation.manage(*COMMANDS[case], check=False, timeout=30)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("The library has not been set up yet: there is no database at ")
    assert "`manage.py migrate`" in ended.stderr
    assert tree(installation.folder) == before


WRONG = {
    "create_image_proxies": ["--limit", "0"],
    "import_media": ["/nowhere/at/all"],
    "worker": ["--workers", "0"],
    "run": ["--port", "99999999"],
}


@pytest.mark.parametrize("name", WRONG)
def test_what_was_wrong_is_said_without_the_name_of_a_class(installation, name):
    ended = installation.manage(name, *WRONG[name], check=False)
    assert ended.returncode == 2
    assert "Error:" not in ended.stderr
    assert ended.stderr.strip()


@pytest.mark.parametrize("name", ["create_image_proxies", "worker"])
def test_what_a_check_refuses_is_wrong_usage_too(install, name):
    ended = install(CSRF_TRUSTED_ORIGINS="photos.example.org").manage(name, check=False, timeout=30)
    assert ended.returncode == 2
    assert "(4_0.E001)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_who_looks_for_the_cause_gets_the_traceback(installation):
    ended = installation.manage("create_image_proxies", "--limit", "0", "--traceback", check=False)
    assert "Traceback" in ended.stderr
