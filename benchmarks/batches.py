"""What a batch costs with one and with two processes, run by the local command and by django-q2."""

from __future__ import annotations

import json
import shutil
import statistics
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.children import installation
from benchmarks.harness import Answer, Goal, Options, Table, number, ratio
from benchmarks.photographs import jpegs
from novaproxy_site.tests.installation import Installation
from proxies.tests.driving import RunningWorker

QUEUE_LIMIT, SCALING_LIMIT = 1.2, 1.8


@dataclass(frozen=True)
class Run:
    """One batch: CPU ms per image over all its processes, wall ms per image, MB of the largest process."""

    cpu: float
    wall: float
    peak: float = 0.0


def measure(options: Options) -> Answer:
    images, rounds = (16, 1) if options.short else (100, 2)
    with installation(NOVAPROXY_ON_SAVE="off") as made:
        fill(made, jpegs(options), images, options.work)
        runs: dict[str, list[Run]] = {}
        for _ in range(rounds):
            for name, run in WAYS.items():
                for processes in (1, 2):
                    runs.setdefault(f"{name}, {processes}", []).append(run(made, images, processes))
    middle = {
        name: Run(statistics.median(run.cpu for run in of), statistics.median(run.wall for run in of))
        for name, of in runs.items()
    }
    base = middle["bare pixel path, 1"]
    # The machine's own limit: two cores that share a cache or execution units give less than twice one.
    ceiling = base.wall / middle["bare pixel path, 2"].wall
    rows = [
        [name, number(run.cpu, 1), ratio(run.cpu, base.cpu), number(run.wall, 1), number(1000 / run.wall, 1)]
        for name, run in middle.items()
    ]
    columns = ("way", "CPU ms an image", "x bare", "wall ms an image", "images a second")
    note = (
        f"{images} JPEG photographs a batch, {rounds} batches each, medians; SQLite, files in a folder. "
        "CPU is that of all processes, start-up left out, of django-q2 also its pusher and monitor."
    )
    one, two = middle["django-q2, 1"], middle["django-q2, 2"]
    scaled = middle["local, 1"].wall / middle["local, 2"].wall
    goals = [
        Goal("Batch by django-q2: CPU against the bare pixel path", one.cpu / base.cpu, QUEUE_LIMIT),
        Goal("Batch by django-q2: wall against the bare pixel path", one.wall / base.wall, QUEUE_LIMIT),
        Goal("Two bare processes against one (the machine's own)", ceiling, SCALING_LIMIT, at_least=True),
        Goal("Two queue workers against one", one.wall / two.wall, SCALING_LIMIT, at_least=True),
        Goal("Two local processes against one", scaled, SCALING_LIMIT, at_least=True),
    ]
    return Answer([Table("A batch", columns, rows, [note])], goals)


def fill(made: Installation, files: list[Path], images: int, work: Path) -> None:
    """Import the photographs, then add rows that share their files until there are `images` rows."""
    folder = work / "to-import"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for file in files:
        shutil.copyfile(file, folder / file.name)
    made.manage("import_media", folder, timeout=600)
    shutil.rmtree(folder)
    made.shell(f"""
        from media_files.models import MediaFile
        rows = list(MediaFile.objects.order_by("id"))
        for number in range(len(rows), {images}):
            row = rows[number % len(rows)]
            row.pk = row.content_key = None
            row._state.adding = True
            row.save(force_insert=True)
    """)


def bare(made: Installation, images: int, processes: int) -> Run:
    """Run the pixel path alone over the same files, in processes that share nothing."""
    return _told(
        made,
        f"""
        import os
        from proxies.rendering.render import render
        from proxies.processes.memory_guard import keep_freed_memory
        from proxies.rendering.profiles import NOVA
        rows = list(MediaFile.objects.order_by("id"))
        with clock() as told:
            crew = []
            for first in range({processes}):
                if pid := os.fork():
                    crew.append(pid)
                    continue
                keep_freed_memory()
                for row in rows[first::{processes}]:
                    with row.file.storage.fetch(row.file.name) as stream:
                        render(stream, row.facts, NOVA)
                os._exit(0)
            for pid in crew:
                os.waitpid(pid, 0)
        """,
        images,
    )


def local(made: Installation, images: int, processes: int) -> Run:
    """Do what `create_image_proxies --force --workers N` does, start-up excluded."""
    return _told(
        made,
        f"""
        from proxies.batches import lifecycle, local_runner
        from proxies.batches.selection import Selection
        from proxies.models import Batch
        with clock() as told:
            everything, here = Selection(MediaFile.objects.all()), Batch.Executor.LOCAL
            batch = lifecycle.start("image-proxy", everything, {{"force": True}}, executor=here)
            local_runner.run(batch, {processes}, lambda: None)
        assert batch.state == "completed", batch.state
        """,
        images,
    )


def queued(made: Installation, images: int, processes: int) -> Run:
    """Run the same batch on a worker that is already running."""
    worker = RunningWorker(made, workers=processes)
    try:
        worker.parts()
        worker.assert_works()
        before = _cpu(worker)
        batch = made.shell("""
            from media_files.models import MediaFile
            from proxies.batches import lifecycle
            from proxies.batches.selection import Selection
            print(lifecycle.start("image-proxy", Selection(MediaFile.objects.all()), {"force": True}).pk)
        """).strip()
        # A single process polls: starting one for each poll would take a core from the workers.
        seconds = made.shell(f"""
            import time
            from proxies.models import Batch
            for _ in range(3600):
                batch = Batch.objects.get(pk={batch})
                if batch.finished_at:
                    break
                time.sleep(0.25)
            print((batch.finished_at - batch.started_at).total_seconds())
        """)
        cpu = _cpu(worker) - before
    finally:
        worker.stop()
        worker.close()
    return Run(cpu * 1000 / images, float(seconds) * 1000 / images)


def _cpu(worker: RunningWorker) -> float:
    times = [process.cpu_times() for process in worker.processes()]
    return sum(each.user + each.system for each in times)


_CLOCK = """
    import json, resource, time
    from contextlib import contextmanager
    from media_files.models import MediaFile

    def cpu():
        of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(each.ru_utime + each.ru_stime for each in of)

    @contextmanager
    def clock():
        told = {}
        before, began = cpu(), time.perf_counter()
        yield told
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        told.update(cpu=cpu() - before, wall=time.perf_counter() - began, peak=peak)
"""


def _told(made: Installation, source: str, images: int) -> Run:
    whole = textwrap.dedent(_CLOCK) + textwrap.dedent(source) + "print(json.dumps(told))"
    reported: dict[str, Any] = json.loads(made.shell(whole))
    return Run(reported["cpu"] * 1000 / images, reported["wall"] * 1000 / images, reported["peak"])


WAYS = {"bare pixel path": bare, "local": local, "django-q2": queued}
