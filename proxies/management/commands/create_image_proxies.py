"""Make the image proxies that are missing or stale, or say what would be made."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Sequence
from typing import Any, Final

from django.core.management.base import OutputWrapper
from django.db.models import Max, QuerySet

from media_files.console import UsageError, counted, human_bytes, printable
from media_files.models import MediaFile
from proxies.batches import lifecycle, operations
from proxies.batches.lifecycle import WrongState
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.local_runs import RunsBatches, say, take_over
from proxies.models import Batch, BatchItem
from proxies.outcomes import NEEDS_WORK, Outcome
from proxies.plain_words import work_text
from proxies.reports import Line, Totals, done_lines, planned_lines, planned_totals

OPERATION: Final = "image-proxy"
_FAILURES_SHOWN: Final = 50


class Command(RunsBatches):
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
        parser.add_argument("--batch", type=_batch_number, metavar="ID", help="go on with this batch")
        parser.add_argument("--retry-failed", action="store_true", help="with --batch: its failures again")
        parser.add_argument("--yes", action="store_true", help="do not ask first")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        _check(options)
        self.as_json: bool = options["json"]
        self.profile = conf().profiles[options["profile"]]
        if options["batch"] is not None:
            return self._go_on(options)
        parameters = {"force": options["force"], "profile": options["profile"]}
        files = _files(options["limit"], parameters)
        if options["dry_run"]:
            return self._plan(files, parameters, None)
        plan = lifecycle.plan(OPERATION, Selection(files), parameters)
        if not self._is_agreed(plan, options):
            return True
        if options["queue"]:
            return self._hand_over(files, parameters, plan)
        return self._run(files, parameters, plan, options)

    # -- What can be asked for -------------------------------------------------------------------

    def _plan(self, files: QuerySet[MediaFile], parameters: dict[str, Any], batch: Batch | None) -> bool:
        plan = lifecycle.plan(OPERATION, Selection(files), parameters)
        if self.as_json:
            for line in planned_lines(OPERATION, files, parameters, self.profile):
                self.write_json(**line.as_json())
            self.write_json(totals=planned_totals(plan), batch=batch.pk if batch else None, dry_run=True)
        else:
            self.stdout.write("Dry run: nothing is changed. --no-dry-run does it.")
            self._show_plan(plan, self.stdout)
        return True

    def _run(
        self, files: QuerySet[MediaFile], parameters: dict[str, Any], plan: Plan, options: dict[str, Any]
    ) -> bool:
        """Go on with the batch that an earlier run with the same options left, then do what came in since."""
        limit = {} if options["limit"] is None else {"limit": options["limit"]}
        batches: list[Batch] = []
        if left := _unfinished(parameters | limit):
            if limit:
                last = left.items.aggregate(last=Max("file_id"))["last"] or 0
                files = MediaFile.objects.images().filter(pk__lte=last)
            self.work_on(left, options["workers"])
            batches = [left]
        rest = files.exclude(pk__in=left.items.values("file_id")) if left else files
        to_do = lifecycle.plan(OPERATION, Selection(rest), parameters) if left else plan
        if to_do.needs_work and not (left and limit):
            batch = lifecycle.start(
                OPERATION,
                Selection(rest),
                parameters | limit,
                executor=Batch.Executor.LOCAL,
                with_settled=False,
                planned=to_do,
            )
            self.work_on(batch, options["workers"])
            batches.append(batch)
        return self._report(files, parameters, batches, plan.bytes_replaced)

    def _go_on(self, options: dict[str, Any]) -> bool:
        batch = Batch.objects.filter(pk=options["batch"], operation=OPERATION, standing=None).first()
        if batch is None:
            raise UsageError(f"There is no image proxy batch {options['batch']}.")
        if batch.executor == Batch.Executor.QUEUE:
            raise UsageError(f"{batch.job_id} is the workers'. Resume it in the admin or over the API.")
        if not batch.is_open and not options["retry_failed"]:
            raise UsageError(f"{batch.job_id} is {batch.state}. --retry-failed takes up what failed.")
        items = batch.items.exclude(state=BatchItem.State.DONE)
        if options["retry_failed"]:
            items |= batch.items.filter(outcome__in=[Outcome.FAILED, Outcome.QUARANTINED])
        to_do = MediaFile.objects.filter(pk__in=items.values("file_id"))
        parameters = dict(batch.parameters)
        if options["dry_run"]:
            return self._plan(to_do, parameters, batch)
        if not self._is_agreed(lifecycle.plan(OPERATION, Selection(to_do), parameters), options):
            return True
        if options["retry_failed"]:
            take_over(batch)
            try:
                lifecycle.retry_failed(batch)
            except WrongState as error:
                raise UsageError(str(error)) from error
        self.work_on(batch, options["workers"])
        files = MediaFile.objects.filter(pk__in=batch.items.values("file_id"))
        return self._report(files, parameters, [batch], 0)

    def _hand_over(self, files: QuerySet[MediaFile], parameters: dict[str, Any], plan: Plan) -> bool:
        batch = None
        if plan.needs_work:
            batch = lifecycle.start(OPERATION, Selection(files), parameters, with_settled=False, planned=plan)
        if self.as_json:
            self.write_json(totals=planned_totals(plan), batch=batch.pk if batch else None, dry_run=False)
        elif batch:
            self.stdout.write(
                f"Handed to the workers as batch {batch.pk} ({batch.job_id}): {work_text(plan)}."
            )
        else:
            self.stdout.write("Nothing is to be done.")
        return True

    # -- The run ---------------------------------------------------------------------------------

    def _is_agreed(self, plan: Plan, options: dict[str, Any]) -> bool:
        """On a terminal a real run asks first."""
        if options["yes"] or not sys.stdin.isatty() or not plan.needs_work:
            return True
        # Standard output is for the lines of --json alone.
        out = self.stderr if self.as_json else self.stdout
        self._show_plan(plan, out)
        out.write(
            f"Make {counted(plan.needs_work, 'image proxy/image proxies')} now? [y/N] ",
            ending="",
            style_func=str,
        )
        out.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
        out.write("Nothing was changed.", style_func=str)
        return False

    # -- What is said ----------------------------------------------------------------------------

    def _report(
        self,
        files: QuerySet[MediaFile],
        parameters: dict[str, Any],
        batches: Sequence[Batch],
        bytes_replaced: int,
    ) -> bool:
        totals = Totals.empty()
        failures: list[Line] = []
        # What was just made is now current: without force each file tells its outcome by its row.
        settled = parameters | {"force": False}
        for line in done_lines(OPERATION, files, settled, self.profile, batches):
            totals.add(line)
            if line.outcome in (Outcome.FAILED, Outcome.QUARANTINED) and len(failures) < _FAILURES_SHOWN:
                failures.append(line)
            if self.as_json:
                self.write_json(**line.as_json())
        sums = totals.as_json(bytes_replaced=bytes_replaced)
        if self.as_json:
            self.write_json(totals=sums, batch=batches[-1].pk if batches else None, dry_run=False)
        else:
            self._show_outcomes(sums, totals.reasons, self.stdout)
            self._show_bytes(sums, self.stdout)
            self._show_failures(failures, sums)
        return not sums[Outcome.FAILED] and not sums[Outcome.QUARANTINED]

    def _show_plan(self, plan: Plan, out: OutputWrapper) -> None:
        sums = planned_totals(plan)
        self._show_outcomes(sums, plan.reasons, out)
        if plan.unknown_facts:
            say(out, f"  of these nothing was read yet: {plan.unknown_facts}")
        self._show_bytes(sums, out)
        if plan.forecast.low is not None and plan.forecast.low != plan.forecast.high:
            low, high = human_bytes(plan.forecast.low), human_bytes(plan.forecast.high)
            learned_from = counted(plan.forecast.sample, "proxy/proxies")
            say(out, f"  Forecast: {low} to {high} to be made (90 %), from {learned_from}.")
        elif plan.forecast.low is None:
            say(out, "  No forecast yet: too few proxies stand to learn from.")

    def _show_outcomes(self, sums: dict[str, Any], reasons: Any, out: OutputWrapper) -> None:
        for outcome in Outcome:
            if sums[outcome]:
                say(out, f"{outcome.value:>12}: {sums[outcome]}")
        if reasons:
            listed = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
            say(out, f"     reasons: {listed}")

    def _show_bytes(self, sums: dict[str, Any], out: OutputWrapper) -> None:
        say(out, f"Originals: {human_bytes(sums['bytes_originals'])}")
        say(out, f"Their proxies: {human_bytes(sums['bytes_proxies'])}")
        say(out, f"Added on disk by proxies: {human_bytes(sums['bytes_disk_added'])}")
        say(out, f"No longer to be sent for an analysis: {human_bytes(sums['bytes_not_sent'])}")

    def _show_failures(self, failures: list[Line], sums: dict[str, Any]) -> None:
        for line in failures:
            name = printable(line.file.original_name)
            self.stdout.write(f"  {name} ({line.file.pk}): {line.error}: {line.message}")
        more = sums[Outcome.FAILED] + sums[Outcome.QUARANTINED] - len(failures)
        if more > 0:
            self.stdout.write(f"  and {more} more; --json lists all.")


def _batch_number(text: str) -> int:
    """Of ``12``, and of the name that the API gives it, ``batch-image-proxy-12``."""
    return int(text.removeprefix(f"batch-{OPERATION}-"))


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
