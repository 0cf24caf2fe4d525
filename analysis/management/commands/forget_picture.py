"""Delete pictures with all answers about them and all copies sent to models."""

from __future__ import annotations

import re
from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any, Final

from analysis.erasure import forget, forget_bytes, kept_answers
from media_files.console import Tool, UsageError, counted
from media_files.models import MediaFile

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Command(Tool):
    help = (
        "Delete pictures with all answers of models about their bytes, and the copies that were sent. A "
        "SHA-256 also finds the answers that are kept of a picture that was deleted before."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("pictures", nargs="+", metavar="PICTURE", help="an id, or the original's SHA-256")
        parser.add_argument(
            "--dry-run", action=BooleanOptionalAction, default=True, help="only say what would be deleted"
        )

    def work(self, **options: Any) -> bool:
        for picture in options["pictures"]:
            sha256, files = _found(picture)
            reported = (
                f"{picture}: {counted(len(files), 'file')}, {counted(kept_answers(sha256), 'kept answer')}"
            )
            if options["dry_run"]:
                self.stdout.write(f"{reported}. Dry run: nothing was deleted. --no-dry-run deletes them.")
                continue
            for file in files:
                forget(file)
            forget_bytes(sha256)
            self.stdout.write(f"{reported}: forgotten.")
        return True


def _found(picture: str) -> tuple[str, list[MediaFile]]:
    """Return the SHA-256 and the files for a picture's id or SHA-256.

    Raises:
        UsageError: it is neither, or there is no such file.
    """
    if _SHA256.fullmatch(picture.lower()):
        return picture.lower(), list(MediaFile.objects.filter(sha256=picture.lower()))
    if not picture.isdecimal() or len(picture) > 18:
        raise UsageError(f"{picture!r} is neither a file's id nor a SHA-256.")
    file = MediaFile.objects.filter(pk=int(picture)).first()
    if file is None:
        raise UsageError(f"There is no file {picture}. To forget a deleted picture, give its SHA-256.")
    return file.sha256, [file]
