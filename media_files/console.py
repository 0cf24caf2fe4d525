"""What all commands share: exit codes, lines for machines, progress and sizes for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from tqdm import tqdm

EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class UsageError(CommandError):
    """The command was called wrongly, or what it stands on is not set up: exit code 2."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, returncode=EXIT_USAGE)


class Tool(BaseCommand):
    """A command whose exit code says how it went: 0, 1 for some failed, 2 for bad usage, 130 for Ctrl-C.

    Subclasses write `work`, and return whether every file went well.
    """

    def work(self, **options: Any) -> bool:
        raise CommandError(f"{type(self).__module__} does nothing.")  # a subclass that forgot

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            went_well = self.work(**options)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. Nothing is lost: run the same command again to go on.")
            sys.exit(EXIT_INTERRUPTED)
        except DatabaseError as error:
            raise UsageError(
                f"The database does not answer as it should: {error}\n"
                "Is DATABASE_URL right, and has `manage.py migrate` been run?"
            ) from error
        except BrokenPipeError:
            # Who read our output has gone, as `head` does. There is nobody to tell.
            sys.stderr.close()
            sys.exit(EXIT_INTERRUPTED)
        if not went_well:
            sys.exit(EXIT_SOME_FAILED)

    def write_json(self, **values: Any) -> None:
        """One object on a line of standard output."""
        self.stdout.write(json.dumps(values, cls=DjangoJSONEncoder, ensure_ascii=False))


@contextmanager
def progress_bar(total: int | None, *, unit: str = "file") -> Iterator[tqdm[Any]]:
    """A bar on standard error where that is a terminal, nothing elsewhere."""
    # Its monitor is a thread, and who forks must have none.
    tqdm.monitor_interval = 0
    with tqdm(total=total, unit=unit, disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        yield bar


def human_bytes(count: int | None) -> str:
    """1,234,567 bytes as ``1.2 MB``; None as ``unknown``."""
    if count is None:
        return "unknown"
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if abs(size) < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
