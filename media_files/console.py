"""Shared by all commands: exit codes, JSON lines, progress bars and human-readable sizes."""

from __future__ import annotations

import io
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, SystemCheckError
from django.core.serializers.json import DjangoJSONEncoder
from django.db import Error as DatabaseError
from django.db import ProgrammingError, connection
from tqdm import tqdm

from media_files.database import OUTAGES, is_reachable, is_schema_missing

EXIT_SOME_FAILED: Final = 1
EXIT_USAGE: Final = 2
EXIT_INTERRUPTED: Final = 130


class UsageError(CommandError):
    """The command line is wrong, or something it depends on is not set up. Exit code 2."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args, returncode=EXIT_USAGE)


class Interrupted(Exception):
    """The run was stopped early and can be resumed. Exit code 130."""


class PlainCommand(BaseCommand):
    """A command that prints what went wrong without the name of the exception class."""

    def execute(self, *args: Any, **options: Any) -> str | None:
        try:
            return super().execute(*args, **options)
        except UsageError as error:
            if not getattr(self, "_called_from_command_line", False) or options["traceback"]:
                raise
            self.stderr.write(str(error))
            sys.exit(error.returncode)
        except SystemCheckError as error:
            error.returncode = EXIT_USAGE  # Django uses 1, which here means that some files failed
            raise


class Tool(PlainCommand):
    """A command with exit codes: 0 for success, 1 for some files failed, 2 for bad usage, 130 for Ctrl-C.

    Subclasses implement `work`, which returns whether every file succeeded.

    Attributes:
        sets_up: whether the command creates the library if it does not exist.
    """

    sets_up = False

    def work(self, **options: Any) -> bool:
        raise CommandError(f"{type(self).__module__} does nothing.")  # a subclass that forgot

    def handle(self, *args: Any, **options: Any) -> None:
        if isinstance(sys.stdout, io.TextIOWrapper):
            # A file name that the terminal cannot encode must not stop the run.
            sys.stdout.reconfigure(errors="backslashreplace")
        if not self.sets_up:
            refuse_missing_library()
        try:
            went_well = self.work(**options)
            self.stdout.flush()
        except KeyboardInterrupt:
            self.stderr.write("Interrupted. Nothing is lost: run the same command again to continue.")
            sys.exit(EXIT_INTERRUPTED)
        except Interrupted as stopped:
            self.stderr.write(str(stopped))
            sys.exit(EXIT_INTERRUPTED)
        except (*OUTAGES, ProgrammingError) as error:
            self.stderr.write(_database_advice(error))
            sys.exit(EXIT_INTERRUPTED)
        except BrokenPipeError:
            # The reader of our output has exited, like `head` does. Discard the rest.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sys.exit(EXIT_INTERRUPTED)
        if not went_well:
            sys.exit(EXIT_SOME_FAILED)

    def write_json(self, **values: Any) -> None:
        """Write one JSON object as a line to standard output."""
        encoding = getattr(self.stdout, "encoding", None) or "utf-8"
        ascii_only = not encoding.lower().replace("-", "").startswith("utf")
        self.stdout.write(json.dumps(values, cls=DjangoJSONEncoder, ensure_ascii=ascii_only))


def _database_advice(error: DatabaseError) -> str:
    """Return what to do about a database that failed while the command ran.

    Raises:
        UsageError: the settings or the tables are wrong.
        ProgrammingError: a bug in this program; its traceback helps to find it.
    """
    if not is_reachable():
        raise UsageError(f"The database cannot be reached: {error}\nIs DATABASE_URL right?") from error
    if is_schema_missing(error):
        text = f"The database lacks tables or columns: {error}\nRun `manage.py migrate`."
        raise UsageError(text) from error
    if isinstance(error, ProgrammingError):
        raise error
    return f"Lost the connection to the database: {error}\nRun the same command again to resume."


def refuse_missing_library() -> None:
    """Stop if the database does not exist: SQLite would create an empty file even for a dry run.

    Raises:
        UsageError: there is no database yet.
    """
    name = str(connection.settings_dict["NAME"])
    if connection.vendor != "sqlite" or name.startswith((":memory:", "file:")) or Path(name).exists():
        return
    raise UsageError(
        f"The library has not been set up yet: there is no database at {name}.\n"
        "`manage.py migrate` makes it, `make run` makes it and more; NOVAPROXY_DATA_DIR leads to another."
    )


class NowAndThen:
    """Return True when called, but at most once in ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._said = time.monotonic()

    def __call__(self) -> bool:
        if time.monotonic() - self._said < self._seconds:
            return False
        self._said = time.monotonic()
        return True


def printable(text: str) -> str:
    """Replace control characters in ``text``, so that a file name cannot control the terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )


@contextmanager
def progress_bar(total: int | None, *, unit: str = "file") -> Iterator[tqdm[Any]]:
    """Show a progress bar on standard error if that is a terminal."""
    # tqdm's monitor is a thread, and a process that forks must have none.
    tqdm.monitor_interval = 0
    with tqdm(total=total, unit=unit, disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        yield bar


def counted(number: int, thing: str) -> str:
    """Return ``1 file`` or ``2,000 files``. Give irregular plurals too, such as ``proxy/proxies``."""
    one, _, many = thing.partition("/")
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"
