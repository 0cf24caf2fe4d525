"""Import photos and videos from folders into the library."""

from __future__ import annotations

import hashlib
import os
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from media_files.console import NowAndThen, Tool, UsageError, printable, progress_bar
from media_files.errors import MediaError, StorageError
from media_files.localised import human_bytes
from media_files.services import add_file

_SECONDS_BETWEEN_LINES: Final = 10.0


class Command(Tool):
    help = (
        "Import files and folders (recursively, without hidden ones). The same bytes are imported once. "
        "After an interruption, run it again to resume."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path, help="a file or a folder")
        parser.add_argument("--limit", type=int, metavar="N", help="stop after N newly imported files")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        paths: list[Path] = options["paths"]
        limit: int | None = options["limit"]
        for path in paths:
            if not os.path.lexists(path):
                raise UsageError(f"There is no {_printable(path)}.")
        if limit is not None and limit < 1:
            raise UsageError("--limit takes a number from 1.")
        totals: Counter[str] = Counter(imported=0, duplicate=0, rejected=0, bytes_originals=0)
        rejected: list[tuple[Path, str]] = []
        is_time_to_tell = NowAndThen(_SECONDS_BETWEEN_LINES)
        with progress_bar(None) as bar:
            for path, fault in _files(paths):
                said = _import(path, fault)
                totals[said["outcome"]] += 1
                totals["bytes_originals"] += said.pop("bytes", 0)
                if said["outcome"] == "rejected":
                    rejected.append((path, said["message"]))
                if options["json"]:
                    self.write_json(**said)
                elif bar.disable and is_time_to_tell():
                    self.stdout.write(f"{totals['imported']} imported so far, at {_printable(path)}")
                bar.update()
                if limit is not None and totals["imported"] >= limit:
                    break
        if options["json"]:
            self.write_json(totals=dict(totals))
        else:
            self._report(totals, rejected)
        return not rejected

    def _report(self, totals: Counter[str], rejected: list[tuple[Path, str]]) -> None:
        self.stdout.write(
            f"{totals['imported']} imported ({human_bytes(totals['bytes_originals'])}), "
            f"{totals['duplicate']} already in the library, {totals['rejected']} rejected."
        )
        for path, message in rejected:
            self.stdout.write(f"  {_printable(path)}: {message}")


def _files(paths: list[Path]) -> Iterator[tuple[Path, OSError | None]]:
    """Yield every file under the paths, folder by folder and sorted by name, and every unreadable folder with
    its error."""
    for path in paths:
        if not path.is_dir():
            yield path, None
            continue
        faults: list[OSError] = []
        for folder, folders, names in os.walk(path, onerror=faults.append):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if not name.startswith("."):
                    yield Path(folder, name), None
        yield from ((Path(fault.filename), fault) for fault in faults)


def _import(path: Path, fault: OSError | None) -> dict[str, Any]:
    """Import one file and return its JSON line."""
    said: dict[str, Any] = {"path": _text(path), "sha256": None, "outcome": "rejected", "id": None}
    said |= {"error": "", "message": ""}
    try:
        if fault is not None:
            raise fault
        if not path.is_file():
            raise StorageError("This is no ordinary file.")
        with path.open("rb") as stream:
            try:
                row, is_new = add_file(stream, path.name)
            except MediaError:
                stream.seek(0)
                said["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
                raise
    except MediaError as error:
        return said | {"error": error.code, "message": str(error)}
    except OSError as error:
        message = f"It cannot be read: {error.strerror}. Is it this user's to read?"
        return said | {"error": StorageError.code, "message": message}
    outcome = "imported" if is_new else "duplicate"
    return said | {
        "sha256": row.sha256,
        "outcome": outcome,
        "id": row.pk,
        "bytes": row.bytes if is_new else 0,
    }


def _text(path: Path) -> str:
    """Return the path as text, even if its bytes are not valid UTF-8."""
    return os.fsencode(path).decode("utf-8", "replace")


def _printable(path: Path) -> str:
    return printable(_text(path))
