"""The actors that work on the library: workers, API users and commands."""

from __future__ import annotations

import io
import random
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.core.files.base import ContentFile
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import DatabaseError, close_old_connections

from analysis.errors import AnalysisError
from analysis.services import AnalysisService
from media_files.console import EXIT_INTERRUPTED
from media_files.errors import MediaError
from media_files.models import MediaFile
from media_files.services import add_file, register_in_place
from proxies.batches import lifecycle, runner, sweeper
from proxies.batches.lifecycle import WrongState
from proxies.batches.selection import Selection
from proxies.models import Batch, Proxy
from proxies.services import ImageProxyService, create_proxy_file
from proxies.tests.simulation import library
from proxies.tests.simulation.provider import Service
from proxies.tests.simulation.queue import Queue
from proxies.tests.simulation.scheduler import Killed, NoRest, World
from proxies.tests.simulation.storage import MemoryStorage

SWEEP_EVERY = 60.0
MOST_ERRORS = 25
"""Failed tasks and requests after which a run is assumed never to settle."""
EXPECTED = (MediaError, WrongState, CommandError, AnalysisError)
"""Named errors: expected responses of the API and the commands, not bugs."""


class Cast:
    """The programs that the processes of a run follow.

    Attributes:
        surprises: unnamed errors that no injected fault explains.
    """

    def __init__(self, world: World, queue: Queue, seed: int, folder: Path) -> None:
        self.world, self.queue, self.seed, self.folder = world, queue, seed, folder
        self.dice = random.Random(f"program {seed}")
        self.surprises: list[str] = []
        self.lost: dict[str, int] = {}
        self.damaged: dict[str, bytes | None] = {}
        self.closing = False
        self.budgets: dict[int, Any] = {}
        self.promises: list[tuple[int, dict[str, int]]] = []
        self.errors = 0
        self.service: Service | None = None
        self.faults: Any = None
        # Swarm testing: each run omits some of the operations, so that others become frequent.
        chosen = [name for name in OPERATIONS if self.dice.random() < 0.45] or list(OPERATIONS)
        self.operations = [name for name in chosen for _ in range(OPERATIONS[name])]
        self.with_models = self.dice.random() < 0.4
        # Nothing fails in a quiet run: its plans must come true exactly.
        self.is_quiet = self.dice.random() < 0.08
        if not self.with_models:
            self.operations = [name for name in self.operations if "analy" not in name] or ["upload"]

    # -- Workers ---------------------------------------------------------------------------------

    def worker(self) -> None:
        """Sweep, then run ticks as they arrive, and sweep each minute."""
        world = self.world
        assert world.current is not None
        process = world.current.process
        process.exits = True
        swept_at = world.clock.monotonic
        self._safely(sweeper.sweep)
        while not process.is_stopping and not self.closing:
            waiter = self.queue.waiter()
            close_old_connections()
            if world.clock.monotonic - swept_at >= SWEEP_EVERY:
                swept_at = world.clock.monotonic
                self._safely(sweeper.sweep)
            task = self._safely(self.queue.take)
            if task is not None:
                self._safely(partial(runner.run_tick, *task))
            else:
                world.block(waiter, max(0.1, swept_at + SWEEP_EVERY - world.clock.monotonic))

    def _safely(self, task: Callable[[], Any]) -> Any:
        """Run a task as django-q2 does: a failed task is a result like any other."""
        before = self._faults()
        try:
            return task()
        except Exception as error:  # noqa: BLE001 - as above
            self._judge(error, before)
            return None

    # -- The API ---------------------------------------------------------------------------------

    def door(self, count: int) -> Callable[[], None]:
        """Return a program of ``count`` requests; if its process is killed, the successor does the rest."""
        left = [count]

        def serve() -> None:
            assert self.world.current is not None
            process = self.world.current.process
            process.exits = process.takes_interrupts = True
            while left[0] > 0:
                left[0] -= 1
                name = self.dice.choice(self.operations)
                self.world.note("request", name)
                before = self._faults()
                try:
                    OPERATIONS_BY_NAME[name](self)
                except EXPECTED as error:
                    self.world.note("answered", type(error).__name__)
                except Exception as error:  # noqa: BLE001 - a web server answers 500
                    self._judge(error, before)
                close_old_connections()
                self.world.sleep(self.dice.choice([0.0, 0.1, 2.0]))

        return serve

    def quiet_door(self) -> None:
        """Upload, wait, plan a batch and start it: at the end, the plan is compared with the result."""
        for name in self.dice.sample(SOUND, self.dice.randrange(4)):
            add_file(io.BytesIO(library.CONTENTS[name]), name)
        self.world.sleep(300.0)
        files = Selection(MediaFile.objects.images())
        parameters = {"force": self.dice.random() < 0.5, "profile": "nova"}
        promised = lifecycle.plan("image-proxy", files, parameters)
        batch = lifecycle.start("image-proxy", files, parameters)
        self.promises.append(
            (batch.pk, {str(key): number for key, number in promised.outcomes.items() if number})
        )

    def _faults(self) -> int:
        assert self.world.current is not None
        return self.world.current.process.faults

    def _judge(self, error: Exception, faults_before: int) -> None:
        assert self.world.current is not None
        if not self.world.current.process.alive:
            raise Killed
        self.world.note("error", f"{type(error).__name__}")
        self.errors += 1
        if self.errors > MOST_ERRORS:
            raise NoRest(f"Work fails again and again: {type(error).__name__}: {error}")
        if self._faults() != faults_before or isinstance(error, EXPECTED):
            return
        if isinstance(error, DatabaseError) and self.world.faults and self.world.faults.struck:
            return  # a connection that an earlier fault has broken
        self.surprises.append(f"{type(error).__name__}: {error}")

    def _file(self) -> MediaFile | None:
        rows = list(MediaFile.objects.order_by("id"))
        return self.dice.choice(rows) if rows else None

    def _content(self) -> tuple[str, bytes]:
        name = self.dice.choice(sorted(library.CONTENTS))
        return name, library.CONTENTS[name]

    def _batch(self, *states: str) -> Batch | None:
        rows = list(Batch.objects.filter(standing=None, state__in=states).order_by("id"))
        return self.dice.choice(rows) if rows else None

    def _add(self, name: str, content: bytes) -> None:
        """Add a file; a lost original with the same content counts as restored."""
        lost = dict(self.lost)
        row, _ = add_file(io.BytesIO(content), name)
        stored = str(row.file.name)
        if stored in lost and self.lost.get(stored) == lost[stored]:
            del self.lost[stored]

    def upload(self) -> None:
        name, content = self._content()
        self._add(name, content)

    def upload_same(self) -> None:
        row = self._file()
        if row is None or row.sha256 not in SHA256:
            return
        name = SHA256[row.sha256]
        self._add(name, library.CONTENTS[name])

    def replace(self) -> None:
        if (row := self._file()) is not None and row.managed:
            name, content = self._content()
            row.file = ContentFile(content, name)
            row.save()

    def replace_by_field(self) -> None:
        if (row := self._file()) is not None and row.managed:
            name, content = self._content()
            row.file.save(name, ContentFile(content))

    def delete(self) -> None:
        if (row := self._file()) is not None:
            row.delete()

    def force(self) -> None:
        if (row := self._file()) is not None:
            ImageProxyService().create_proxy(row.pk, force=True)

    def give_proxy(self) -> None:
        if (row := self._file()) is not None:
            create_proxy_file(row, library.given_proxy(self.dice.randrange(3)), file_type="image")

    def give_video_proxy(self) -> None:
        if (row := self._file()) is not None:
            create_proxy_file(row, self.dice.randbytes(40), extension=self.dice.choice(["mp4", "mov"]))

    def register(self) -> None:
        name = self.dice.choice(["shelf/one.tif", "shelf/two.tif"])
        if name not in MemoryStorage.files["archive"] or self.dice.random() < 0.3:
            MemoryStorage.files["archive"][name] = self._content()[1]
        register_in_place("archive", name)

    def lose_original(self) -> None:
        """Remove a file without the application's knowledge."""
        if (row := self._file()) is not None and row.managed:
            self.lost[str(row.file.name)] = self.world.steps
            MemoryStorage.files["originals"].pop(str(row.file.name), None)

    def damage_proxy(self) -> None:
        """Truncate or remove a proxy without the application's knowledge."""
        files = MemoryStorage.files["proxies"]
        names = sorted(name for name in files if name.startswith("proxy_image/"))
        if names:
            name = self.dice.choice(names)
            self.damaged[name] = self.dice.choice([None, files[name][:7]])
            if (rest := self.damaged[name]) is None:
                del files[name]
            else:
                files[name] = rest

    def demand_proxy(self) -> None:
        """Request a proxy as if about to send it: damaged proxies are recreated."""
        names = sorted(self.damaged)
        row = Proxy.objects.filter(image__in=names).select_related("source").first() if names else None
        source = row.source if row is not None else self._file()
        if source is None:
            return
        made = ImageProxyService().create_proxy(source.pk)
        name = str(made.proxy.image.name) if made.proxy is not None else ""
        if name in self.damaged and MemoryStorage.files["proxies"].get(name) == self.damaged[name]:
            self.surprises.append(f"the damaged proxy {name} was {made.outcome}")

    def start_batch(self) -> None:
        files = MediaFile.objects.images()
        lifecycle.start(
            "image-proxy", Selection(files), {"force": self.dice.random() < 0.5, "profile": "nova"}
        )

    def pause(self) -> None:
        if (batch := self._batch("running", "paused")) is not None:
            lifecycle.pause(batch)

    def resume(self) -> None:
        if (batch := self._batch("running", "paused")) is not None:
            lifecycle.resume(batch)

    def cancel(self) -> None:
        if (batch := self._batch("running", "paused")) is not None:
            lifecycle.cancel(batch)

    def retry_failed(self) -> None:
        if (batch := self._batch("running", "paused", "completed")) is not None:
            lifecycle.retry_failed(batch)

    def analyze(self) -> None:
        if (row := self._file()) is not None:
            AnalysisService("nova").analyze(row.pk)

    def start_analyses(self) -> None:
        from analysis.options import budget_of, parameters_of

        budget = budget_of(self.dice.choice(["", "0.002", "0.02"]))
        parameters = parameters_of(force=self.dice.random() < 0.2, max_cost=budget)
        batch = lifecycle.start("analyze-nova", Selection(MediaFile.objects.images()), parameters)
        self.budgets[batch.pk] = budget

    # -- Commands --------------------------------------------------------------------------------

    def command(self) -> Callable[[], None]:
        """Return a program: one command, run again until it completes, as a person does after Ctrl-C."""
        choices = ["import_media", "create_image_proxies", "create_image_proxies"]
        if self.with_models and self.dice.random() < 0.5:
            return self.limited_analyses
        chosen = self.dice.choice(choices)
        arguments = self._arguments(chosen)

        def run() -> None:
            assert self.world.current is not None
            self.world.current.process.takes_interrupts = True
            before = self._faults()
            try:
                call_command(chosen, *arguments, stdout=io.StringIO(), stderr=io.StringIO())
            except EXPECTED as error:
                self.world.note("command", f"{type(error).__name__}: {error}"[:200])
            except SystemExit as ended:
                if ended.code == EXIT_INTERRUPTED:
                    raise
            except Exception as error:  # noqa: BLE001 - a traceback in the shell
                self._judge(error, before)

        return run

    def limited_analyses(self) -> None:
        """Analyse everything, but press Ctrl-C after a while; then analyse one file."""
        assert self.world.current is not None
        assert self.service is not None
        process = self.world.current.process
        process.takes_interrupts = True
        call = ["analyze_images", "--no-dry-run", "--yes", "--workers", "1"]
        before = self._faults()
        seconds = self.dice.choice([0.5, 2.0, 8.0])

        def press() -> None:
            self.world.sleep(seconds)
            self.world.send(process, signal.SIGINT)

        self.world.add_fiber(f"{process.name}.keyboard", process, press)
        self._call(call, before)
        asked = len(self.service.asked)
        self._call([*call, "--limit", "1"], before)
        name = process.name.partition(".")[0]
        pictures = {sha256 for who, sha256 in self.service.asked[asked:] if who == name}
        if len(pictures) > 1 and self.faults is not None and not self.faults.struck:
            self.surprises.append(f"--limit 1 sent {len(pictures)} pictures")

    def _call(self, arguments: list[str], before: int) -> None:
        try:
            call_command(*arguments, stdout=io.StringIO(), stderr=io.StringIO())
        except EXPECTED as error:
            self.world.note("command", f"{type(error).__name__}: {error}"[:200])
        except SystemExit as ended:
            self.world.note("command", f"ended with {ended.code}")
        except KeyboardInterrupt:
            self.world.note("command", "interrupted")
        except Exception as error:  # noqa: BLE001 - a traceback in the shell
            self._judge(error, before)

    def _arguments(self, chosen: str) -> list[str]:
        if chosen == "import_media":
            return [str(self.folder)]
        arguments = ["--no-dry-run", "--yes", "--workers", str(self.dice.choice([1, 2]))]
        if self.dice.random() < 0.4:
            arguments.append("--force")
        if self.dice.random() < 0.3:
            arguments += ["--limit", "2"]
        return arguments


OPERATIONS = {
    "upload": 4, "upload_same": 2, "replace": 4, "replace_by_field": 1, "delete": 3, "force": 3,
    "give_proxy": 2, "give_video_proxy": 1, "register": 2, "lose_original": 1,
    "damage_proxy": 1, "demand_proxy": 2, "start_batch": 2, "pause": 2,
    "resume": 2, "cancel": 1, "retry_failed": 2, "analyze": 3, "start_analyses": 2,
}  # fmt: skip
"""What API users do, and how often."""

OPERATIONS_BY_NAME: dict[str, Callable[[Cast], None]] = {name: getattr(Cast, name) for name in OPERATIONS}


SOUND = sorted(set(library.CONTENTS) - {"damaged.jpg"})
"""Names of decodable files, for which a plan must be right."""


def _hashes() -> dict[str, str]:
    import hashlib

    return {hashlib.sha256(content).hexdigest(): name for name, content in library.CONTENTS.items()}


SHA256 = _hashes()
"""Names of contents by their SHA-256."""
