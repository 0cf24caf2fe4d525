"""What all commands have in common, as seen from a shell."""

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
def test_a_library_that_is_not_set_up_is_left_unchanged(install, case):
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
def test_usage_errors_do_not_show_class_names(installation, name):
    ended = installation.manage(name, *WRONG[name], check=False)
    assert ended.returncode == 2
    assert "Error:" not in ended.stderr
    assert ended.stderr.strip()


@pytest.mark.parametrize("name", ["create_image_proxies", "worker"])
def test_a_failing_system_check_exits_like_a_usage_error(install, name):
    ended = install(CSRF_TRUSTED_ORIGINS="photos.example.org").manage(name, check=False, timeout=30)
    assert ended.returncode == 2
    assert "(4_0.E001)" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_traceback_option_shows_the_traceback(installation):
    ended = installation.manage("create_image_proxies", "--limit", "0", "--traceback", check=False)
    assert "Traceback" in ended.stderr
