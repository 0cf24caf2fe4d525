"""The wheel holds everything that a checkout runs, and another Django project finds it there."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from pathlib import Path

import pytest

import novaproxy_site
from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

APPS = ("novaproxy_site", "media_files", "proxies", "analysis")
# What a build reads. It writes build/ and *.egg-info beside it, and so works in a copy.
FILES = ("pyproject.toml", "setup.py", "requirements.in", "README.md", "LICENSE")
SOURCES = (*APPS, "templates", "locale", *FILES)

FIND_TEMPLATES = """
import sys
import django
from django.conf import settings

settings.configure(
    SECRET_KEY="x" * 60,
    STORAGES={
        alias: {"BACKEND": "media_files.storage.local.LocalStorage", "OPTIONS": {"location": "media"}}
        for alias in ("default", "originals", "proxies")
    },
    Q_CLUSTER={"orm": "default"},
    INSTALLED_APPS=[
        "novaproxy_site.apps.NovaProxySiteConfig",  # before the admin, whose templates it overrides
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions", "django.contrib.staticfiles",
        "django_q", "rest_framework", "media_files", "proxies", "analysis",
    ],
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}],
)
django.setup()
from django.contrib.staticfiles import finders
from django.template.loader import get_template
from django.utils.translation.trans_real import all_locale_paths

for name in sys.argv[2:]:
    origin = get_template(name).origin.name
    assert origin.startswith(sys.argv[1]), f"{name} is read from {origin}"
assert finders.find("proxies/batch.js").startswith(sys.argv[1])
assert f"{sys.argv[1]}/media_files/locale" in all_locale_paths()
"""


def files_below(folder: str) -> set[str]:
    """Return the paths below a folder of the checkout, without what running it leaves behind."""
    return {
        str(path.relative_to(ROOT))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of the checkout, built with the setuptools of this environment."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "pip",
                "--disable-pip-version-check",
                "wheel",
                "--quiet",
                "--no-cache-dir",
            ),
            *("--no-deps", "--no-build-isolation", "--wheel-dir", str(target), str(source)),
        ],
        check=True,
    )
    (path,) = target.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        yield archive


def test_it_holds_every_file_of_the_apps_but_their_tests(wheel: zipfile.ZipFile) -> None:
    files = {name for app in APPS for name in files_below(app) if "/tests/" not in name}
    owner = {"admin": "novaproxy_site"}
    for path in files_below("templates"):
        folder = path.split("/")[1]
        files.add(f"{owner.get(folder, folder)}/{path}")
    files |= {f"media_files/{path}" for path in files_below("locale") if path.endswith(".mo")}
    found = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert found == files
    # So that an empty checkout would not pass.
    assert {
        "proxies/migrations/0001_initial.py",
        "proxies/static/proxies/batch.js",
        "proxies/templates/proxies/batch.html",
        "media_files/locale/de/LC_MESSAGES/django.mo",
        "analysis/prices.toml",
    } <= found


def test_its_metadata_comes_from_the_sources(wheel: zipfile.ZipFile) -> None:
    (name,) = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
    metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "novaproxy"
    assert metadata["Version"] == novaproxy_site.__version__
    listed = [
        line for line in (ROOT / "requirements.in").read_text().splitlines() if not line.startswith("#")
    ]
    assert len(metadata.get_all("Requires-Dist", [])) == len(listed)
    assert "Django~=5.2.0" in metadata.get_all("Requires-Dist", [])


def test_another_project_finds_its_files(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    installed = tmp_path / "site-packages"
    wheel.extractall(installed)
    names = [str(Path(name).relative_to("templates")) for name in sorted(files_below("templates"))]
    environment = clean_environment({"PATH": "/usr/bin:/bin", "PYTHONPATH": str(installed)})
    result = subprocess.run(
        [sys.executable, "-c", FIND_TEMPLATES, str(installed), *names],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
