"""Make the image proxies that are missing or stale, or say what would be made."""

from __future__ import annotations

import os
import sys
import time
from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any, Final

from django.db.models import QuerySet

from media_files.console import Tool, UsageError, human_bytes, progress_bar
from media_files.models import MediaFile
from proxies.batches import lifecycle, local, operations
from proxies.batches.counts import counts_of
from proxies.batches.lifecycle import WrongState
from proxies.batches.local import HeldElsewhere
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.reports import Line, Totals, done_lines, planned_lines, planned_totals

OPERATION: Final = "image-proxy"
_SECONDS_BETWEEN_LINES: Final = 10.0
_FAILURES_SHOWN: Final = 50


class Command(Tool):
    help = (
        "Say what a run would do (the default), or with --no-dry-run make the image proxies that are "
        "missing or stale. Interrupted or killed, the next run goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action=BooleanOptionalAction, default=True, help="only say what would be done"
        )
        parser.add_argument("--force", action="store_true", help="replace current proxies, too")
        parser.add_argument("--limit", type=int, metavar="N", help="stop after N files that need work")
        parser.add_argument("--profile", default="nova", choices=sorted(conf().profiles))
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
        parser.add_argument("--queue", action="store_true", help="hand the batch to the workers instead")
        parser.add_argument("--batch", type=int, metavar="ID", help="go on with this batch")
        parser.add_argument("--retry-failed", action="store_true", help="with --batch: its failures again")
        parser.add_argument("--yes", action="store_true", help="do not ask first")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        _check(options)
        self.as_json: bool = options["json"]
        self.profile = conf().profiles[options["profile"]]
        parameters = {"force": options["force"], "profile": options["profile"]}
        files = _files(options["limit"], parameters)
        if options["batch"] is not None:
            return self._go_on(options)
        if options["dry_run"]:
            return self._plan(files, parameters)
        plan = lifecycle.plan(OPERATION, Selection(files), parameters)
        if not self._is_agreed(plan, options):
            return True
        if options["queue"]:
            return self._hand_over(files, parameters, plan, options)
        return self._run(files, parameters, plan, options)

    # -- What can be asked for -------------------------------------------------------------------

    def _plan(self, files: QuerySet[MediaFile], parameters: dict[str, Any]) -> bool:
        plan = lifecycle.plan(OPERATION, Selection(files), parameters)
        if self.as_json:
            for line in planned_lines(OPERATION, files, parameters, self.profile):
                self.write_json(**line.as_json())
            self.write_json(totals=planned_totals(plan), batch=None, dry_run=True)
        else:
            self.stdout.write("Dry run: nothing is changed. --no-dry-run does it.")
            self._show_plan(plan)
        return True

    def _run(
        self, files: QuerySet[MediaFile], parameters: dict[str, Any], plan: Plan, options: dict[str, Any]
    ) -> bool:
        batch = _unfinished(parameters) or (
            lifecycle.start(
                OPERATION,
                Selection(files),
                parameters,
                executor=Batch.Executor.LOCAL,
                with_settled=False,
                planned=plan,
            )
            if plan.needs_work
            else None
        )
        if batch is not None:
            self._work_on(batch, options["workers"])
        return self._report(files, parameters, batch, plan.bytes_replaced)

    def _go_on(self, options: dict[str, Any]) -> bool:
        batch = Batch.objects.filter(pk=options["batch"], operation=OPERATION, standing=None).first()
        if batch is None:
            raise UsageError(f"There is no image proxy batch {options['batch']}.")
        if batch.executor == Batch.Executor.QUEUE:
            raise UsageError(f"{batch.job_id} is the workers'. Resume it in the admin or over the API.")
        try:
            if options["retry_failed"]:
                lifecycle.retry_failed(batch)
            elif not batch.is_open:
                raise UsageError(f"{batch.job_id} is {batch.state}. --retry-failed takes up what failed.")
        except WrongState as error:
            raise UsageError(str(error)) from error
        self._work_on(batch, options["workers"])
        files = MediaFile.objects.filter(pk__in=batch.items.values("file_id"))
        return self._report(files, dict(batch.parameters), batch, 0)

    def _hand_over(
        self, files: QuerySet[MediaFile], parameters: dict[str, Any], plan: Plan, options: dict[str, Any]
    ) -> bool:
        batch = lifecycle.start(OPERATION, Selection(files), parameters, with_settled=False, planned=plan)
        if self.as_json:
            self.write_json(totals=planned_totals(plan), batch=batch.pk, dry_run=False)
        else:
            self.stdout.write(f"Handed to the workers as batch {batch.pk} ({batch.job_id}).")
        return True

    # -- The run ---------------------------------------------------------------------------------

    def _work_on(self, batch: Batch, workers: int | None) -> None:
        try:
            local.take_over(batch)
        except HeldElsewhere as error:
            raise UsageError(str(error)) from error
        if batch.state == Batch.State.PAUSED:
            lifecycle.resume(batch)
        total = counts_of(batch, exact=True)["total"]
        with progress_bar(total) as bar:
            show = self._follow(batch, bar)
            try:
                local.run(batch, workers or os.cpu_count() or 1, show)
            except KeyboardInterrupt:
                if batch.state == Batch.State.RUNNING:
                    lifecycle.pause(batch, reason="The command was interrupted.")
                raise

    def _follow(self, batch: Batch, bar: Any) -> Any:
        """What shows the progress: a bar on a terminal, else a line now and then."""
        spoken = time.monotonic()

        def show() -> None:
            nonlocal spoken
            counts = counts_of(batch)
            bar.update(counts["done"] - bar.n)
            if bar.disable and not self.as_json and time.monotonic() - spoken > _SECONDS_BETWEEN_LINES:
                spoken = time.monotonic()
                self.stdout.write(f"{counts['done']} of {counts['total']} done")

        return show

    def _is_agreed(self, plan: Plan, options: dict[str, Any]) -> bool:
        """On a terminal a real run asks first."""
        if options["yes"] or not sys.stdin.isatty() or not plan.needs_work:
            return True
        self._show_plan(plan)
        answer = input(f"Make {plan.needs_work} image proxies now? [y/N] ")
        return answer.strip().lower() in ("y", "yes")

    # -- What is said ----------------------------------------------------------------------------

    def _report(
        self,
        files: QuerySet[MediaFile],
        parameters: dict[str, Any],
        batch: Batch | None,
        bytes_replaced: int,
    ) -> bool:
        totals = Totals.empty()
        failures: list[Line] = []
        # What was just made is now current: without force each file tells its outcome by its row.
        settled = parameters | {"force": False}
        for line in done_lines(OPERATION, files, settled, self.profile, batch):
            totals.add(line)
            if line.outcome in (Outcome.FAILED, Outcome.QUARANTINED) and len(failures) < _FAILURES_SHOWN:
                failures.append(line)
            if self.as_json:
                self.write_json(**line.as_json())
        sums = totals.as_json(bytes_replaced=bytes_replaced)
        if self.as_json:
            self.write_json(totals=sums, batch=batch.pk if batch else None, dry_run=False)
        else:
            self._show_outcomes(sums, totals.reasons)
            self._show_bytes(sums)
            self._show_failures(failures, sums)
        return not sums[Outcome.FAILED] and not sums[Outcome.QUARANTINED]

    def _show_plan(self, plan: Plan) -> None:
        sums = planned_totals(plan)
        self._show_outcomes(sums, plan.reasons)
        if plan.unknown_facts:
            self.stdout.write(f"  of these nothing was read yet: {plan.unknown_facts}")
        self._show_bytes(sums)
        if plan.forecast.low is not None and plan.needs_work:
            low, high = human_bytes(plan.forecast.low), human_bytes(plan.forecast.high)
            self.stdout.write(
                f"  Forecast: {low} to {high} to be made (90 %), from {plan.forecast.sample} proxies."
            )
        elif plan.needs_work:
            self.stdout.write("  No forecast yet: too few proxies stand to learn from.")

    def _show_outcomes(self, sums: dict[str, Any], reasons: Any) -> None:
        for outcome in Outcome:
            if sums[outcome]:
                self.stdout.write(f"{outcome.value:>12}: {sums[outcome]}")
        if reasons:
            listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
            self.stdout.write(f"     reasons: {listed}")

    def _show_bytes(self, sums: dict[str, Any]) -> None:
        self.stdout.write(f"Originals: {human_bytes(sums['bytes_originals'])}")
        self.stdout.write(f"Their proxies: {human_bytes(sums['bytes_proxies'])}")
        self.stdout.write(f"Added on disk by proxies: {human_bytes(sums['bytes_disk_added'])}")
        self.stdout.write(f"No longer to be sent for an analysis: {human_bytes(sums['bytes_not_sent'])}")

    def _show_failures(self, failures: list[Line], sums: dict[str, Any]) -> None:
        for line in failures:
            self.stdout.write(f"  {line.file.original_name} ({line.file.pk}): {line.error}: {line.message}")
        more = sums[Outcome.FAILED] + sums[Outcome.QUARANTINED] - len(failures)
        if more > 0:
            self.stdout.write(f"  and {more} more; --json lists all.")


def _check(options: dict[str, Any]) -> None:
    for name in ("limit", "workers"):
        if options[name] is not None and options[name] < 1:
            raise UsageError(f"--{name} takes a number from 1.")
    if options["retry_failed"] and options["batch"] is None:
        raise UsageError("--retry-failed goes with --batch ID.")
    if options["batch"] is not None and (options["queue"] or options["force"] or options["limit"]):
        raise UsageError("--batch takes a batch as it is; --queue, --force and --limit make a new one.")


def _files(limit: int | None, parameters: dict[str, Any]) -> QuerySet[MediaFile]:
    """All images; with a limit those up to, in order of ids, the last that still counts."""
    files = MediaFile.objects.images()
    if limit is None:
        return files
    annotated = operations.get(OPERATION).annotate(files, parameters)
    to_do = annotated.filter(outcome__in=[outcome.value for outcome in NEEDS_WORK]).order_by("pk")
    last = to_do.values_list("pk", flat=True)[limit - 1 : limit].first()
    return files if last is None else files.filter(pk__lte=last)


def _unfinished(parameters: dict[str, Any]) -> Batch | None:
    """The batch that an earlier run with the same options was in when it ended."""
    started = Batch.objects.filter(
        operation=OPERATION,
        executor=Batch.Executor.LOCAL,
        state__in=Batch.OPEN_STATES,
        started_at__isnull=False,
    ).order_by("-id")
    return next((batch for batch in started if batch.parameters == parameters), None)
