"""One file from end to end inside Django: NovaProxy and four other libraries on the same job.

The job: read an original from disk, write a proxy of the same size and quality to disk, and record in the
database what the library records. NovaProxy also makes file and name durable (fsync), takes a lease, and
keeps provenance; the others do not.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.children import ask, set_up_django
from benchmarks.harness import Answer, Cost, Goal, Options, Table, Timing, clocked, in_turns, number, ratio
from benchmarks.photographs import jpegs

BARE, OURS = "bare pixel path", "NovaProxy, the whole way"
PEERS = ("easy-thumbnails", "sorl-thumbnail", "django-imagekit", "django-pictures")
PEERS_LIMIT, OVERHEAD_LIMIT = 3.0, 1.15


def measure(options: Options) -> Answer:
    files = jpegs(options)[:3] if options.short else jpegs(options)
    said = ask(
        "inside_django", options.rounds, *files, environment={"DJANGO_SETTINGS_MODULE": "benchmarks.settings"}
    )
    timings = {name: _timing(costs) for name, costs in said.items()}
    bare, ours = timings[BARE].cpu, timings[OURS].cpu
    rows = [
        [
            name, number(timing.cpu, 1), number(100 * timing.spread), number(timing.wall, 1),
            ratio(timing.cpu, bare), ratio(timing.cpu, ours),
        ]
        for name, timing in timings.items()
    ]  # fmt: skip
    columns = ("way", "CPU ms", "spread %", "wall ms", "x bare", "x NovaProxy")
    note = (
        "Ours makes the file durable, and keeps a lease and the provenance; the others do none of it. "
        "Wall time holds the waiting for the disk."
    )
    goals = [Goal("Inside Django: CPU against the bare pixel path", ours / bare, OVERHEAD_LIMIT)]
    goals += [
        Goal(f"{peer}: CPU against ours", timings[peer].cpu / ours, PEERS_LIMIT, at_least=True)
        for peer in PEERS
    ]
    return Answer([Table("One file inside Django", columns, rows, [note])], goals)


def _timing(costs: dict[str, list[list[float]]]) -> Timing:
    return Timing({file: [Cost(*cost) for cost in of_file] for file, of_file in costs.items()})


# -- In the child ------------------------------------------------------------------------------


class Library:
    """The originals, in the peers' folder and as our rows, with an unused name for each run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._goes = 0
        self.sources: dict[str, Any] = {}

    def add(self, path: Path) -> None:
        from django.core.files.base import File

        from media_files.models import MediaFile

        with path.open("rb") as stream:
            self.sources[path.name] = MediaFile.objects.create(file=File(stream, path.name))

    def fresh_name(self, path: Path) -> str:
        """Link the file under a name that no library has seen, so that none finds its earlier result."""
        self._goes += 1
        link = self._folder / f"go-{self._goes}" / path.name
        link.parent.mkdir(parents=True)
        link.hardlink_to(self._folder / path.name)
        return link.relative_to(self._folder).as_posix()


def _ways(library: Library) -> dict[str, Callable[[Path], Cost]]:
    from django.core.files.storage import default_storage
    from easy_thumbnails.files import get_thumbnailer
    from imagekit import ImageSpec
    from imagekit.cachefiles import ImageCacheFile
    from imagekit.processors import ResizeToFit
    from pictures.models import PillowPicture
    from pictures.tasks import _process_picture
    from sorl.thumbnail import get_thumbnail

    from benchmarks import peers
    from proxies.services import ImageProxyService

    service = ImageProxyService()

    def ours(path: Path) -> Cost:
        return clocked(lambda: service.create_proxy(library.sources[path.name], force=True))

    def easy(path: Path) -> Cost:
        name, size = library.fresh_name(path), peers.job(path).size
        thumbnailer = get_thumbnailer(default_storage, name)
        return clocked(lambda: thumbnailer.get_thumbnail({"size": size, "quality": peers.QUALITY}))

    def sorl(path: Path) -> Cost:
        name, (width, height) = library.fresh_name(path), peers.job(path).size
        return clocked(lambda: get_thumbnail(name, f"{width}x{height}", quality=peers.QUALITY))

    def imagekit(path: Path) -> Cost:
        name, size = library.fresh_name(path), peers.job(path).size

        class Small(ImageSpec):
            processors = [ResizeToFit(*size)]
            format = "JPEG"
            options = {"quality": peers.QUALITY}

        def make() -> None:
            with default_storage.open(name) as source:
                ImageCacheFile(Small(source=source)).generate(force=True)

        return clocked(make)

    def pictures(path: Path) -> Cost:
        name = library.fresh_name(path)
        picture = PillowPicture(name, "JPEG", None, default_storage, peers.job(path).size[0])
        storage = default_storage.deconstruct()
        return clocked(
            lambda: _process_picture(
                storage=storage, file_name=name, sender=None, new=[picture.deconstruct()]
            )
        )

    return {
        BARE: peers.in_process(peers.ours),
        OURS: ours,
        "easy-thumbnails": easy,
        "sorl-thumbnail": sorl,
        "django-imagekit": imagekit,
        "django-pictures": pictures,
    }


def main(rounds: str, *names: str) -> None:
    """Print the costs of each way, by file."""
    set_up_django()
    from django.conf import settings

    library = Library(settings.PEERS_FOLDER)
    settings.PEERS_FOLDER.mkdir(parents=True)
    paths = [Path(name) for name in names]
    for path in paths:
        library.add(path)
        copy = settings.PEERS_FOLDER / path.name
        copy.write_bytes(path.read_bytes())
    ways = _ways(library)
    in_turns(ways, paths[:1], 1)
    timings = in_turns(ways, paths, int(rounds))
    # A library may have printed something without a newline.
    sys.stdout.write(os.linesep + json.dumps({name: timing.costs for name, timing in timings.items()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
