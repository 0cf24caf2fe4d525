"""Do everything on this machine: set up, import, make the proxies, and serve until Ctrl-C."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from collections import Counter
from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Any, Final
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import connection
from django.db.models import Count, Max, QuerySet
from honcho.manager import Manager
from rest_framework.authtoken.models import Token

from media_files.console import Tool, UsageError, printable
from media_files.localised import human_bytes
from media_files.models import MediaFile
from novaproxy_site.samples import make_samples
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch, BatchItem
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.reports import Line, planned_lines

_HOST: Final = "127.0.0.1"
_WEB_THREADS: Final = 4
# Quoted for a shell: the project's path may contain spaces.
_PYTHON: Final = shlex.quote(sys.executable)
_MANAGE: Final = shlex.quote(str(settings.BASE_DIR / "manage.py"))
# The table: maximum number of rows, and characters of a file name.
_SHOWN: Final = 50
_NAME: Final = 36
# Seconds the processes get to end, on top of the time limit of a model's answer.
_SPARE: Final = 15.0
# Seconds within which a second signal is a duplicate: the terminal sends one, and make forwards it again.
_AT_ONCE: Final = 1.0


class Command(Tool):
    sets_up = True
    help = (
        "Set up the library, import photographs, make their proxies, and serve the site and the worker "
        "on 127.0.0.1 until Ctrl-C."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--photos", metavar="FOLDER", help="import this folder (default: made samples)")
        parser.add_argument("--port", type=int, default=8000)

    def work(self, **options: Any) -> bool:
        port: int = options["port"]
        _check_port(port)
        call_command("migrate", verbosity=0, interactive=False)
        self._make_admin()
        # Batch items with a higher id belong to this run.
        self._last_item = BatchItem.objects.aggregate(last=Max("id"))["last"] or 0
        self._import(options["photos"])
        connection.close()
        return self._serve(port)

    def _make_admin(self) -> None:
        """Create a superuser unless an active one exists; the password is shown only now."""
        users = get_user_model().objects
        if users.filter(is_superuser=True, is_active=True).exists():
            return
        password = secrets.token_urlsafe(12)
        admin = users.create_superuser("admin", "", password)
        token = Token.objects.create(user=admin)
        _token_file().touch(mode=0o600)
        _token_file().write_text(token.key)
        self.stdout.write("An administrator was made. These are shown once; keep them:")
        self.stdout.write(f"  user:      admin\n  password:  {password}\n  API token: {token.key}\n")

    def _import(self, photos: str | None) -> None:
        if photos:
            folder = Path(photos).expanduser()
        else:
            folder = settings.DATA_DIR / "samples"
            make_samples(folder)
        try:
            call_command("import_media", str(folder), stdout=self.stdout)
        except SystemExit as ended:
            # Rejected files have been listed; they do not prevent serving the others.
            if ended.code != 1:
                raise

    def _serve(self, port: int) -> bool:
        """Run the web server and the worker; stop both on Ctrl-C or when one of them ends."""
        manager = PatientManager()
        web = (
            f"{_PYTHON} -m gunicorn novaproxy_site.wsgi --bind {_HOST}:{port} --workers 2 "
            f"--threads {_WEB_THREADS} --timeout 120 --log-level warning "
            # It exits once no request is left; one may be waiting for a billed answer.
            f"--graceful-timeout {settings.NOVAPROXY_ANALYSIS_TIMEOUT}"
        )
        manager.add_process("web", web, cwd=str(settings.BASE_DIR))
        manager.add_process("worker", f"{_PYTHON} {_MANAGE} worker", cwd=str(settings.BASE_DIR))
        threading.Thread(target=self._welcome, args=(port,), daemon=True).start()
        _stop_on_hang_up(manager)
        manager.loop()
        # Honcho treats any end by a signal as a failure, but Ctrl-C is the normal way to stop.
        return manager.returncode in (0, 130, -2, 128 + signal.SIGHUP, None)

    # -- The summary once all proxies are made ---------------------------------------------------

    def _welcome(self, port: int) -> None:
        """Show the summary and the address; runs in a thread because honcho uses the main one."""
        _wait_until_ready(port)
        _wait_until_made()
        self._show_files()
        address = f"http://{_HOST}:{port}"
        self.stdout.write(f"\nNovaProxy is at {address}/admin/ (Ctrl-C stops it). Try:\n")
        self.stdout.write(f'  curl -H "Authorization: Token {_token()}" {address}/api/files\n')
        self.stdout.flush()
        connection.close()

    def _show_files(self) -> None:
        """Print the library's files with their proxies, and what this run made."""
        profile = conf().nova
        images = MediaFile.objects.images()
        totals = self._totals(images)
        self.stdout.write(f"\n{'file':<{_NAME}} {'original':>22} {'proxy':>22}  outcome")
        for line in islice(planned_lines("image-proxy", images, {}, profile), _SHOWN):
            self.stdout.write(_row(line, *self._told(line)))
        if (more := totals.total() - _SHOWN) > 0:
            self.stdout.write(f"and {more:,} more")
        reported = (f"{count:,} {outcome}" for outcome, count in sorted(totals.items()) if count)
        self.stdout.write(", ".join(reported))

    def _totals(self, images: QuerySet[MediaFile]) -> Counter[str]:
        """Count files by outcome; proxies made in this run count as made instead of reused."""
        totals = lifecycle.plan("image-proxy", Selection(images), {}).outcomes
        items = BatchItem.objects.filter(pk__gt=self._last_item, outcome__in=[*NEEDS_WORK])
        for outcome, count in items.values_list("outcome").annotate(files=Count("file_id", distinct=True)):
            totals[outcome] += count
            totals[Outcome.REUSED] -= count
        return totals

    def _told(self, line: Line) -> tuple[str, str]:
        """Return a file's outcome and the reason: from this run, or else its current state."""
        item = BatchItem.objects.filter(file=line.file).exclude(outcome="").order_by("-id").first()
        # An item from before this run: it says more than the row only if it failed.
        if item is None or (item.pk <= self._last_item and line.outcome not in NEEDS_WORK):
            return line.outcome, ", ".join(line.reasons) or line.message
        return item.outcome, item.message or ", ".join(item.reasons)


class PatientManager(Manager):  # type: ignore[misc]  # honcho has no types
    """Stops its processes as honcho does, but gives them the time they need.

    Honcho kills processes that still run 5 s after the first one ended. The worker and the web server exit on
    their own, and quickly unless they wait for a model's answer. A second signal kills them.
    """

    _stopped_at: float | None = None

    def _start(self) -> None:
        super()._start()
        # Honcho's own handlers are in place by now, and its children have been forked.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def kill(self) -> None:
        """Kill the remaining processes once their time is up."""
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        if time.monotonic() > self._stopped_at + settings.NOVAPROXY_ANALYSIS_TIMEOUT + _SPARE:
            super().kill()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self.returncode = 128 + number
            self.terminate()
        elif time.monotonic() > self._stopped_at + _AT_ONCE:
            super().kill()


def _stop_on_hang_up(manager: Manager) -> None:
    """Stop web and worker when the terminal is closed: honcho handles TERM and INT only."""
    own = os.getpid()

    def stop(*_: object) -> None:
        if os.getpid() != own:
            return  # honcho's children inherit this handler; each exits with the program it watches
        # The terminal is closed: failing writes must not prevent the processes from ending.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        manager.returncode = 128 + signal.SIGHUP
        manager.terminate()

    signal.signal(signal.SIGHUP, stop)


def _row(line: Line, outcome: str, why: str) -> str:
    file, proxy = line.file, line.proxy
    original = f"{file.width}x{file.height} {human_bytes(file.bytes)}"
    small = f"{proxy.width}x{proxy.height} {human_bytes(proxy.bytes)}" if proxy else "-"
    return f"{_short(printable(file.original_name)):<{_NAME}} {original:>22} {small:>22}  {outcome} ({why})"


def _short(name: str) -> str:
    """Shorten a name in the middle, because names from one camera differ at the end."""
    return name if len(name) <= _NAME else f"{name[: _NAME - 16]}…{name[-15:]}"


def _token_file() -> Path:
    """Return the path of the token file, beside the database, which holds the token too; owner-only."""
    return Path(settings.DATA_DIR) / "api_token"


def _token() -> str:
    """Return a shell substitution for an administrator's token, so that the token is not shown again."""
    if _token_file().exists():
        return f"$(cat {shlex.quote(str(_token_file()))})"
    # The administrator was created manually.
    return f"$({_PYTHON} {_MANAGE} drf_create_token NAME | cut -d' ' -f3)"


def _check_port(port: int) -> None:
    # With port 0 the system would choose a port, which is never shown.
    if not 1 <= port <= 65_535:
        raise UsageError(f"There is no port {port}. Choose one from 1 to 65535: PORT=.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise UsageError(
                f"Port {port} of {_HOST} cannot be had ({error}). Choose another: PORT=."
            ) from error


def _wait_until_ready(port: int) -> None:
    while True:
        try:
            with urlopen(f"http://{_HOST}:{port}/healthz", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)


def _wait_until_made() -> None:
    while BatchItem.objects.unfinished().filter(batch__standing=Batch.UPLOADS).exists():
        time.sleep(0.3)
