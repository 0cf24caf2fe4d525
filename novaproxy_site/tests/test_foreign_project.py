"""The three apps in another Django project: checks name what is missing, and all else has a default."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from PIL import Image

import analysis.conf
import media_files.conf
import proxies.conf
from novaproxy_site.tests.environment import clean_environment
from novaproxy_site.tests.installation import ROOT

DEFAULTS: dict[str, Any] = media_files.conf.DEFAULTS | proxies.conf.DEFAULTS | analysis.conf.DEFAULTS

APPS = """
INSTALLED_APPS += ["django_q", "rest_framework", "media_files", "proxies", "analysis"]
"""
# What the hints of the checks ask for, as docs/settings.md shows it.
WHAT_THE_HINTS_SAY = "\n".join(
    re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "settings.md").read_text(), re.DOTALL)
)
SAVE_ONE = """
from django.core.files.base import ContentFile
from django_q.models import OrmQ
from media_files.models import MediaFile
from proxies.models import BatchItem
file = MediaFile.objects.create(file=ContentFile(open("harbour.jpg", "rb").read(), "harbour.jpg"))
print(file.width, file.height, file.file.size == file.bytes, BatchItem.objects.count(), OrmQ.objects.count())
"""


class Project:
    """A project as `startproject` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = clean_environment(os.environ) | {"PYTHONPATH": str(ROOT)}
        self._environment.pop("DJANGO_SETTINGS_MODULE", None)
        self._run("-m", "django", "startproject", "gallery", str(folder))

    def add_settings(self, source: str) -> None:
        """Append lines to the settings."""
        with (self.folder / "gallery" / "settings.py").open("a") as file:
            file.write(source)

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return self._run("manage.py", *arguments)

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    project.add_settings(APPS)
    return project


def test_nothing_set_gives_named_errors(project: Project) -> None:
    checked = project.manage("check")
    assert checked.returncode == 1
    assert "Traceback" not in checked.stderr
    for named in ("media_files.E005", "proxies.E004", "proxies.E005"):
        assert checked.stderr.count(f"({named})") == 1, checked.stderr
    for setting in ("STORAGES", "Q_CLUSTER", "DATA_DIR"):
        assert f"HINT: Set {setting}" in checked.stderr
    # Other commands say the same, before they do anything.
    for command in ("migrate", "worker", "verify_media"):
        stopped = project.manage(command)
        assert stopped.returncode
        assert "(media_files.E005)" in stopped.stderr
        assert "Traceback" not in stopped.stderr


def test_with_what_the_hints_say_it_works(project: Project) -> None:
    project.add_settings(WHAT_THE_HINTS_SAY)
    checked = project.manage("check")
    assert (checked.returncode, checked.stderr) == (0, "")
    migrated = project.manage("migrate", "--verbosity=0")
    assert migrated.returncode == 0, migrated.stderr
    stream = io.BytesIO()
    Image.new("RGB", (1200, 1000)).save(stream, "JPEG")
    (project.folder / "harbour.jpg").write_bytes(stream.getvalue())
    saved = project.manage("shell", "--no-imports", "-c", SAVE_ONE)
    # Stored, and its proxy queued with a job for a worker.
    assert saved.stdout == "1200 1000 True 1 1\n", saved.stderr
    checked = project.manage("makemigrations", "--check", "--dry-run")
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (
            'STORAGES["proxies"] = {"BACKEND": "django.core.files.storage.FileSystemStorage"}',
            "media_files.E006",
        ),
        ('STORAGES["originals"] = {"BACKEND": "no.such.Storage"}', "media_files.E006"),
        ('Q_CLUSTER = {**Q_CLUSTER, "orm": None}', "proxies.E006"),
    ],
)
def test_a_setting_that_cannot_work_is_named(project: Project, lines: str, named: str) -> None:
    project.add_settings(WHAT_THE_HINTS_SAY + lines)
    checked = project.manage("check")
    assert checked.returncode == 1
    assert checked.stderr.count(f"({named})") == 1, checked.stderr
    assert "Traceback" not in checked.stderr


@pytest.mark.parametrize("name", sorted(set(DEFAULTS) - {"HEARTBEAT"}))  # which tests do without
def test_the_site_and_the_apps_have_the_same_defaults(name: str) -> None:
    assert getattr(settings, name) == DEFAULTS[name]
