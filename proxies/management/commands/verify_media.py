"""Compare all rows with all stored files, and repair what can be repaired."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from django.conf import settings

from media_files.console import Tool, UsageError, counted, printable, progress_bar
from media_files.errors import StorageError
from media_files.localised import human_bytes
from proxies.verification import Finding, Page, Verification, make_again

# An interrupted run can resume for this long; later the library may have changed too much.
_KEPT_SECONDS: Final = 24 * 3600


class Command(Tool):
    help = (
        "Report rows without a file, files without a row, files of the wrong size (with --deep: or hash), "
        "temporaries and outdated proxies. Changes nothing without --repair. Interrupted, it resumes."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--deep", action="store_true", help="read every file and compare its SHA-256")
        parser.add_argument(
            "--repair", action="store_true", help="delete temporaries and have proxies made again"
        )
        parser.add_argument(
            "--delete-unknown", action="store_true", help="with --repair: delete files that have no row"
        )
        parser.add_argument(
            "--older-than",
            type=float,
            default=60.0,
            metavar="MINUTES",
            help="leave younger files without a row alone (default: %(default)g)",
        )
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        if options["older_than"] < 0:
            raise UsageError("--older-than takes a number of minutes from 0.")
        self.as_json: bool = options["json"]
        self._options = {name: options[name] for name in ("deep", "repair", "delete_unknown", "older_than")}
        verification = Verification(
            deep=options["deep"],
            repair=options["repair"],
            delete_unknown=options["delete_unknown"],
            guard=timedelta(minutes=options["older_than"]),
        )
        totals, step, after = self._resumed()
        try:
            with progress_bar(None) as bar:
                for page in verification.pages(step, after):
                    self._take(page, totals)
                    bar.update(page.checked)
        except StorageError as error:
            raise UsageError(f"{error} Run the same command again to resume.") from error
        batches = [batch.pk for batch in make_again()] if options["repair"] else []
        _place().unlink(missing_ok=True)
        self._report(totals, batches, dry_run=not options["repair"])
        return not totals["found"]

    def _take(self, page: Page, totals: Counter[str]) -> None:
        """Show a page's findings, add them to the totals, and save the position after the page."""
        totals[page.step] += page.checked
        totals["bytes"] += page.bytes
        for finding in page.findings:
            totals["found"] += 1
            totals["bytes_found"] += finding.bytes
            totals[finding.state] += 1
            totals[f"{finding.kind}_{finding.state}"] += 1
            self._show(finding)
        # A storage lists files in no order, so a run interrupted in that step lists them all again.
        if page.after:
            self._keep({"step": page.step, "after": page.after, "totals": totals})

    def _show(self, finding: Finding) -> None:
        if self.as_json:
            self.write_json(
                id=finding.id,
                kind=finding.kind,
                state=finding.state,
                action=finding.action,
                path=finding.path,
                bytes=finding.bytes,
            )
        else:
            row = f" {finding.id}" if finding.id is not None else ""
            self.stdout.write(
                f"{finding.kind}{row}: {finding.state} ({printable(finding.path)}), action: {finding.action}"
            )

    def _report(self, totals: Counter[str], batches: list[int], *, dry_run: bool) -> None:
        if self.as_json:
            self.write_json(totals=dict(totals), batches=batches, dry_run=dry_run)
            return
        rows = f"{counted(totals['originals'], 'original')} and {counted(totals['proxies'], 'proxy/proxies')}"
        self.stdout.write(f"Checked {rows}, {human_bytes(totals['bytes'])}, and {totals['files']:,} files.")
        if not totals["found"]:
            self.stdout.write("Nothing is wrong.")
            return
        self.stdout.write(
            f"{counted(totals['found'], 'fault')}, {human_bytes(totals['bytes_found'])}."
            + (" Nothing was changed: --repair repairs what can be repaired." if dry_run else "")
        )
        for batch in batches:
            self.stdout.write(f"Proxies are made again by batch {batch}.")

    # -- The position of an interrupted run ------------------------------------------------------

    def _resumed(self) -> tuple[Counter[str], str, int]:
        """Return totals, step and id of an interrupted run with the same options, or those of a new run."""
        try:
            kept = json.loads(_place().read_text())
        except (OSError, ValueError):
            kept = {}
        if kept.get("options") == self._options and time.time() - kept["at"] < _KEPT_SECONDS:
            self.stderr.write(f"Resuming an interrupted run after {kept['step']} {kept['after']}.")
            return Counter(kept["totals"]), kept["step"], kept["after"]
        return Counter(originals=0, proxies=0, files=0, temporaries=0, bytes=0, found=0), "originals", 0

    def _keep(self, place: dict[str, Any]) -> None:
        partial = _place().with_suffix(".part")
        partial.write_text(json.dumps(place | {"options": self._options, "at": time.time()}))
        partial.replace(_place())


def _place() -> Path:
    return Path(settings.DATA_DIR) / "verify_media.json"
