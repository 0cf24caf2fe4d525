"""Make the image proxies that are missing or outdated, or show a preview."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from django.core.management.base import OutputWrapper
from django.db.models import QuerySet

from media_files.console import UsageError, counted
from media_files.localised import human_bytes
from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.lifecycle import WrongState
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.local_runs import RunsBatches, profile_of, say, take_over
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome
from proxies.reports import Totals, done_lines, planned_lines, planned_totals
from proxies.run_scope import Scope, scope_of

OPERATION: Final = "image-proxy"


class Command(RunsBatches):
    help = (
        "Show what a run would do (the default), or with --no-dry-run create the image proxies that are "
        "missing or outdated. After an interruption or a kill, run it again to resume."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action=BooleanOptionalAction, default=True, help="only say what would be done"
        )
        parser.add_argument("--force", action="store_true", help="replace current proxies, too")
        parser.add_argument("--limit", type=int, metavar="N", help="stop after N files that need work")
        parser.add_argument("--profile", choices=sorted(conf().profiles), help="default: nova")
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
        parser.add_argument("--queue", action="store_true", help="hand the batch to the workers instead")
        parser.add_argument(
            "--resume", action="store_true", help="resume the newest batch that was left, and nothing else"
        )
        parser.add_argument("--batch", type=_batch_number, metavar="ID", help="resume this batch")
        parser.add_argument("--retry-failed", action="store_true", help="with --batch: its failures again")
        parser.add_argument("--yes", action="store_true", help="do not ask first")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        _check(options)
        self.as_json: bool = options["json"]
        if options["batch"] is not None:
            return self._go_on(options)
        scope = scope_of(OPERATION, _parameters(options), limit=options["limit"], resume=options["resume"])
        self.profile = profile_of(scope.parameters)
        self.announce(scope)
        if options["dry_run"]:
            return self._plan(scope.files, scope.parameters, scope.left)
        plan = lifecycle.plan(OPERATION, scope.selection, scope.parameters)
        if not self._may_start(plan, options):
            return True
        if options["queue"]:
            self.enqueue(OPERATION, scope, plan, planned_totals(plan))
            return True
        return self._run(scope, plan, options["workers"])

    # -- Options ---------------------------------------------------------------------------------

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

    def _run(self, scope: Scope, plan: Plan, workers: int | None) -> bool:
        self.do(OPERATION, scope, plan, workers)
        return self._report(
            scope.files, scope.parameters, self.batches, plan.bytes_replaced, since=scope.began
        )

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
            failed = batch.items.filter(outcome__in=[Outcome.FAILED, Outcome.QUARANTINED])
            if not failed.exists():
                raise UsageError(f"Nothing in {batch.job_id} has failed.")
            items |= failed
        to_do = MediaFile.objects.filter(pk__in=items.values("file_id"))
        parameters = dict(batch.parameters)
        self.profile = profile_of(parameters)
        planned = parameters | {"retry_failed": options["retry_failed"]}
        if options["dry_run"]:
            return self._plan(to_do, planned, batch)
        if not self._may_start(lifecycle.plan(OPERATION, Selection(to_do), planned), options):
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

    def _may_start(self, plan: Plan, options: dict[str, Any]) -> bool:
        question = f"Make {counted(plan.needs_work, 'image proxy/image proxies')} now?"
        return options["yes"] or self.is_confirmed(plan, self._show_plan, question)

    # -- Output ----------------------------------------------------------------------------------

    def _report(
        self,
        files: QuerySet[MediaFile],
        parameters: dict[str, Any],
        batches: Sequence[Batch],
        bytes_replaced: int,
        *,
        since: datetime | None = None,
    ) -> bool:
        totals = Totals.empty()
        # New proxies are now up to date: without force, each file's row shows its outcome.
        settled = parameters | {"force": False}
        lines = done_lines(OPERATION, files, settled, self.profile, batches, since=since)
        failures = self.write_lines(lines, totals.add)
        sums = totals.as_json(bytes_replaced=bytes_replaced)
        failed = sums[Outcome.FAILED] + sums[Outcome.QUARANTINED]
        if self.as_json:
            self.write_json(totals=sums, batch=batches[-1].pk if batches else None, dry_run=False)
        else:
            self._show_outcomes(sums, totals.reasons, self.stdout)
            self._show_bytes(sums, self.stdout)
            self.show_failures(failures, failed)
        return not failed

    def _show_plan(self, plan: Plan, out: OutputWrapper) -> None:
        sums = planned_totals(plan)
        self._show_outcomes(sums, plan.reasons, out)
        if plan.unknown_facts:
            say(out, f"  of these not read yet: {plan.unknown_facts}")
        self._show_bytes(sums, out)
        if plan.forecast.low is not None and plan.forecast.low != plan.forecast.high:
            low, high = human_bytes(plan.forecast.low), human_bytes(plan.forecast.high)
            learned_from = counted(plan.forecast.sample, "proxy/proxies")
            say(out, f"  Forecast: {low} to {high} of new proxies (90 %), estimated from {learned_from}.")
        elif plan.forecast.low is None:
            say(out, "  No estimate yet: there are too few proxies to estimate from.")

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
        say(out, f"Extra disk space: {human_bytes(sums['bytes_disk_added'])}")
        say(out, f"Upload saved per analysis: {human_bytes(sums['bytes_not_sent'])}")


def _batch_number(text: str) -> int:
    """Parse a batch number from ``12`` or from the API's name, ``batch-image-proxy-12``."""
    return int(text.removeprefix(f"batch-{OPERATION}-"))


def _check(options: dict[str, Any]) -> None:
    for name in ("limit", "workers"):
        if options[name] is not None and options[name] < 1:
            raise UsageError(f"--{name} takes a number from 1.")
    if options["retry_failed"] and options["batch"] is None:
        raise UsageError("--retry-failed needs --batch ID.")
    others = ("queue", "force", "limit", "profile", "resume")
    if options["batch"] is not None and any(options[name] for name in others):
        raise UsageError(
            "--batch resumes a batch as it is, without --queue, --force, --limit, --profile or --resume."
        )
    if options["resume"] and options["queue"]:
        raise UsageError("--resume works on a batch here; --queue starts a new one. Use one of them.")


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    """Return the operation's parameters; to resume a batch, only those given on the command line."""
    given = {"force": options["force"], "profile": options["profile"]}
    if options["resume"]:
        return {name: value for name, value in given.items() if value}
    return {**given, "profile": given["profile"] or "nova"}
