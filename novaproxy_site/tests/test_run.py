"""``manage.py run``, which ``make run`` calls: everything at once, as a user starts and stops it."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from media_files.models import MediaFile
from media_files.tests.pictures import SVG, encoded, jpeg, turned_jpeg
from novaproxy_site.management.commands.run import Command
from novaproxy_site.tests.api_fixtures import work_off
from novaproxy_site.tests.installation import ROOT, Installation, wait_for
from novaproxy_site.tests.servers import free_ports
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.services import ImageProxyService


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "my photos"
    folder.mkdir()
    (folder / "coast.jpg").write_bytes(jpeg())
    (folder / "small.png").write_bytes(encoded("PNG", 300, 200))
    (folder / "turned.jpg").write_bytes(turned_jpeg())
    (folder / "drawing.svg").write_bytes(SVG)
    return folder


class Running:
    """A running ``manage.py run``, until Ctrl-C."""

    def __init__(self, installation, photos):
        (self.port,) = free_ports(1)
        self.address = f"http://127.0.0.1:{self.port}"
        self._file = tempfile.NamedTemporaryFile("w+", prefix="run-")  # noqa: SIM115
        self.installation = installation
        self.process = installation.popen("run", "--photos", photos, "--port", self.port, output=self._file)

    @property
    def output(self) -> str:
        return Path(self._file.name).read_text()

    def wait_until_told(self) -> str:
        def reported() -> str:
            assert self.process.poll() is None, self.output
            output = self.output  # later lines of the web server or the worker may follow
            return output if re.search(r"^  curl .*/api/files\n", output, re.MULTILINE) else ""

        return str(wait_for(reported, seconds=90, what="the address"))

    def healthz(self):
        with urlopen(f"{self.address}/healthz", timeout=10) as response:  # noqa: S310
            return dict(json.load(response))

    def ctrl_c(self):
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(30)
        assert "Traceback" not in self.output
        self._file.close()
        return code


def rows_of(output: str) -> dict[str, tuple[str, str]]:
    """Return the table's last two columns by the first."""
    found = re.findall(r"^(\S+\.\w+) .*  (\w+) \((.*)\)$", output, re.MULTILINE)
    return {name: (outcome, why) for name, outcome, why in found}


def test_run_from_scratch_and_again(installation, photos):
    # -- The first time: an administrator, an import, proxies, an address.
    run = Running(installation, photos)
    output = run.wait_until_told()
    assert "3 imported" in output
    assert "drawing.svg: This is" in output
    assert rows_of(output) == {
        "coast.jpg": ("created", "shorter_side"),
        "small.png": ("skipped", "not_needed"),
        "turned.jpg": ("created", "orientation"),
    }
    assert "996x896" in output
    wait_for(lambda: run.healthz() == {"status": "ok", "database": "ok", "workers": 1}, what="a worker")

    # -- The printed curl line works unchanged.
    (line,) = re.findall(r"^  (curl .*)$", output, re.MULTILINE)
    answer = subprocess.run(["sh", "-c", f"{line} --silent"], capture_output=True, text=True, check=True)
    assert len(json.loads(answer.stdout)["results"]) == 3

    # -- So do lines from users' scripts, with curl's default content type.
    (token,) = re.findall(r"API token: (\w+)", output)
    made = json.loads(answer.stdout)["results"][-1]
    url = f"{run.address}/api/files/{made['id']}/create-image-proxy"
    reported = [
        json.loads(
            subprocess.run(
                ["curl", "-s", "-X", "POST", "-H", f"Authorization: Token {token}", url, *data],
                capture_output=True, text=True, check=True,
            ).stdout
        )["outcome"]
        for data in ([], ["-d", '{"force": true}'])
    ]  # fmt: skip
    assert reported == ["reused", "replaced"]

    # -- Only the owner can read the secrets.
    for name in ("api_token", "secret_key"):
        path = installation.folder / name
        if path.exists():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (installation.folder / "api_token").read_text() == token

    # -- Ctrl-C leaves nothing behind.
    assert run.ctrl_c() == 0
    wait_for(lambda: not installation.processes(), seconds=10, what="all processes to end")
    with pytest.raises(URLError):
        run.healthz()

    # -- The second time it imports nothing and makes nothing, and says so.
    again = Running(installation, photos)
    output = again.wait_until_told()
    assert "0 imported (0 B), 3 already in the library, 1 rejected." in output
    assert "administrator" not in output
    assert rows_of(output) == {
        "coast.jpg": ("reused", "shorter_side"),
        "small.png": ("skipped", "not_needed"),
        "turned.jpg": ("reused", "orientation"),
    }
    assert again.ctrl_c() == 0
    wait_for(lambda: not installation.processes(), seconds=10, what="all processes to end")


def test_it_runs_in_a_folder_with_any_name_and_stops_when_the_terminal_closes(tmp_path):
    project = tmp_path / "näïve copy #1, 50% 'done'"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(".*", "var", "docs", "benchmarks"))
    installation = Installation(project / "var")
    del installation.environment["DATABASE_URL"]
    (port,) = free_ports(1)
    terminal, its_end = pty.openpty()
    run = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "manage.py", "run", "--port", str(port)],
        cwd=project,
        env=installation.environment,
        stdin=its_end,
        stdout=its_end,
        stderr=its_end,
    )
    os.close(its_end)
    try:
        output = b""
        while b"/api/files" not in output:
            output += os.read(terminal, 10_000)
        started = psutil.Process(run.pid).children(recursive=True)
        assert len(started) > 4
        assert (project / "var" / "novaproxy.sqlite3").exists()
        os.close(terminal)  # the kernel sends HUP to all foreground processes
        assert run.wait(30) == 0
        _, alive = psutil.wait_procs(started, timeout=15)
        assert alive == []
    finally:
        installation.close()


@pytest.mark.django_db
def test_a_large_library_lists_the_first_files_and_counts_all(add, off):
    ImageProxyService().create_proxy(add(name="from-earlier.jpg"))
    for seed in range(50):
        add(encoded("PNG", 9, 8, seed=seed), f"wallpapers_Patak_contents_images_1080x{1900 + seed}.png")
    out = io.StringIO()
    command = Command(stdout=out)
    command._last_item = 0
    lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {"force": True})
    work_off()
    command._show_files()
    *rows, more, totals = out.getvalue().strip().splitlines()[1:]
    assert len(rows) == 50
    assert len({row.split()[0] for row in rows}) == 50, "no two names may be shortened to the same text"
    assert rows[1].startswith("wallpapers_Patak_con…s_1080x1900.png ")
    assert (more, totals) == ("and 1 more", "1 replaced, 50 skipped")


def test_a_port_in_use_is_reported_before_anything_is_done(install):
    installation = install()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = installation.manage("run", "--port", str(port), check=False)
    assert ended.returncode == 2
    assert f"Port {port}" in ended.stderr
    assert "PORT=" in ended.stderr
    assert not (installation.folder / "api_token").exists()


@pytest.mark.parametrize("port", ["0", "65536", "-1"])
def test_an_invalid_port_is_reported(install, port):
    ended = install().manage("run", f"--port={port}", check=False, timeout=30)
    assert ended.returncode == 2
    assert ended.stderr == f"There is no port {port}. Choose one from 1 to 65535: PORT=.\n"


def test_a_missing_folder_is_reported(installation):
    (port,) = free_ports(1)
    ended = installation.manage("run", "--photos", "/nowhere/at/all", "--port", str(port), check=False)
    assert ended.returncode == 2
    assert "/nowhere/at/all" in ended.stderr
    assert "Traceback" not in ended.stderr
