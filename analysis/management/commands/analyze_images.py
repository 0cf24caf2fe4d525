"""Have a model say what images show, or say what that would do and cost."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any, Final

from django.core.management.base import OutputWrapper
from django.db.models import QuerySet

from analysis import budgets
from analysis.errors import NotConfigured
from analysis.planning import AnalysisPlan, plan_analyses
from analysis.providers import aws, names
from analysis.queries import with_outcome
from analysis.reports import Line, Totals, done_lines, planned_lines
from analysis.wishes import Run, budget_of, parameters_of
from media_files.console import Interrupted, UsageError, human_bytes, printable
from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.local_runs import RunsBatches, say
from proxies.models import Batch
from proxies.outcomes import NEEDS_WORK, Outcome

_FAILURES_SHOWN: Final = 50


class Command(RunsBatches):
    going_on = "Run the same command again to go on."
    help = (
        "Say what a run would do and cost (the default), or with --no-dry-run have a model say what the "
        "images show. Answers that are there are not paid for twice; interrupted, the next run goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action=BooleanOptionalAction, default=True, help="only say what would be done"
        )
        parser.add_argument("--provider", default="nova", choices=names())
        parser.add_argument("--profile", default="nova", choices=sorted(conf().profiles))
        parser.add_argument("--limit", type=int, metavar="N", help="stop after N files that need work")
        parser.add_argument("--force", action="store_true", help="ask again what was answered before")
        parser.add_argument("--max-cost", metavar="DOLLARS", help="stop before this much is spent")
        parser.add_argument("--question", default="", help="of Nova, instead of the usual description")
        parser.add_argument("--features", default="", help="of Rekognition: labels,text,moderation,...")
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
        parser.add_argument("--queue", action="store_true", help="hand the batch to the workers instead")
        parser.add_argument("--yes", action="store_true", help="do not ask first")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        self.as_json = options["json"]
        self.operation = f"analyze-{options['provider']}"
        parameters, run = _wanted(options)
        files = _files(options["limit"], run)
        plan = plan_analyses(Selection(files), run, aws.missing_setup())
        if options["dry_run"]:
            return self._tell_plan(files, run, plan)
        if plan.missing:
            raise UsageError(" ".join(plan.missing))
        if not self._is_agreed(plan, options):
            return True
        if options["queue"]:
            return self._hand_over(files, parameters, plan)
        return self._run(files, parameters, run, plan, options["workers"])

    # -- What can be asked for -------------------------------------------------------------------

    def _tell_plan(self, files: QuerySet[MediaFile], run: Run, plan: AnalysisPlan) -> bool:
        if self.as_json:
            for line in planned_lines(files, run):
                self.write_json(**line.as_json())
            self.write_json(totals=plan.as_json(), batch=None, dry_run=True)
        else:
            self.stdout.write("Dry run: nobody is asked. --no-dry-run does it.")
            _show_plan(plan, self.stdout)
        return True

    def _run(
        self,
        files: QuerySet[MediaFile],
        parameters: dict[str, Any],
        run: Run,
        plan: AnalysisPlan,
        workers: int | None,
    ) -> bool:
        batch = self._unfinished(parameters)
        if batch is None and plan.needs_work:
            batch = lifecycle.start(
                self.operation,
                Selection(files),
                parameters,
                executor=Batch.Executor.LOCAL,
                with_settled=False,
                planned=plan,
            )
        try:
            if batch is not None:
                self.work_on(batch, workers)
        except Interrupted as stopped:
            self._report(files, run, batch)
            if batch is not None and batch.paused_code not in ("", budgets.USED_UP):
                # Something is not set up as it must be: run again as it is, it would meet the same.
                raise UsageError(str(stopped)) from stopped
            raise
        return self._report(files, run, batch)

    def _hand_over(self, files: QuerySet[MediaFile], parameters: dict[str, Any], plan: AnalysisPlan) -> bool:
        batch = lifecycle.start(
            self.operation, Selection(files), parameters, with_settled=False, planned=plan
        )
        if self.as_json:
            self.write_json(totals=plan.as_json(), batch=batch.pk, dry_run=False)
        else:
            self.stdout.write(f"Handed to the workers as batch {batch.pk} ({batch.job_id}).")
        return True

    def _unfinished(self, parameters: dict[str, Any]) -> Batch | None:
        """The batch that an earlier run of the same wishes was in; it goes on with the budget of this one."""
        started = Batch.objects.filter(
            operation=self.operation,
            executor=Batch.Executor.LOCAL,
            state__in=Batch.OPEN_STATES,
            started_at__isnull=False,
        ).order_by("-id")
        for batch in started:
            if batch.parameters | {"max_cost": None} == parameters | {"max_cost": None}:
                batch.parameters = parameters
                batch.save(update_fields=["parameters"])
                return batch
        return None

    def _is_agreed(self, plan: AnalysisPlan, options: dict[str, Any]) -> bool:
        """On a terminal a run that costs asks first."""
        if options["yes"] or not sys.stdin.isatty() or not plan.needs_work:
            return True
        out = self.stderr if self.as_json else self.stdout
        _show_plan(plan, out)
        out.write(f"Analyse {plan.needs_work} images now? [y/N] ", ending="", style_func=str)
        out.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    # -- What is said ----------------------------------------------------------------------------

    def _report(self, files: QuerySet[MediaFile], run: Run, batch: Batch | None) -> bool:
        totals = Totals()
        failures: list[Line] = []
        for line in done_lines(files, run, batch):
            totals.add(line)
            if line.outcome in (Outcome.FAILED, Outcome.QUARANTINED) and len(failures) < _FAILURES_SHOWN:
                failures.append(line)
            if self.as_json:
                self.write_json(**line.as_json())
        sums = totals.as_json()
        failed = sums[Outcome.FAILED] + sums[Outcome.QUARANTINED]
        if self.as_json:
            self.write_json(totals=sums, batch=batch.pk if batch else None, dry_run=False)
            return not failed
        _show_outcomes(sums, self.stdout)
        self.stdout.write(f"Estimated cost: ${sums['cost']}; sent: {human_bytes(sums['bytes_sent'])}")
        for line in failures:
            name = printable(line.file.original_name)
            self.stdout.write(f"  {name} ({line.file.pk}): {line.error}: {printable(line.message)}")
        if failed > len(failures):
            self.stdout.write(f"  and {failed - len(failures)} more; --json lists all.")
        return not failed


def _wanted(options: dict[str, Any]) -> tuple[dict[str, Any], Run]:
    """The run that the options stand for.

    Raises:
        UsageError: they stand for none.
    """
    for name in ("limit", "workers"):
        if options[name] is not None and options[name] < 1:
            raise UsageError(f"--{name} takes a number from 1.")
    features = [name.strip() for name in options["features"].split(",") if name.strip()]
    try:
        parameters = parameters_of(
            force=options["force"],
            profile=options["profile"],
            question=options["question"],
            features=features,
            max_cost=budget_of(options["max_cost"]),
        )
        run = Run.of(options["provider"], parameters)
        if not run.requests:
            raise UsageError("Nothing is asked.")
    except (ValueError, NotConfigured) as error:
        raise UsageError(str(error)) from error
    return parameters, run


def _files(limit: int | None, run: Run) -> QuerySet[MediaFile]:
    """All images; with a limit those up to, in order of ids, the last that still counts."""
    files = MediaFile.objects.images()
    if limit is None:
        return files
    annotated = with_outcome(files, run.provider.name, run.requests, run.profile, force=run.force)
    to_do = annotated.filter(outcome__in=[outcome.value for outcome in NEEDS_WORK]).order_by("pk")
    last = to_do.values_list("pk", flat=True)[limit - 1 : limit].first()
    return files if last is None else files.filter(pk__lte=last)


def _show_plan(plan: AnalysisPlan, out: OutputWrapper) -> None:
    for sentence in plan.missing:
        say(out, sentence)
    _show_outcomes(dict(plan.outcomes), out)
    say(out, f"Calls to be paid for: {plan.calls}; answered before: {plan.calls_saved}")
    if plan.cost is None:
        say(out, "Cost: unknown, there is no price of this model.")
    else:
        say(out, f"Expected cost: {plan.cost_text}; at most {plan.most_cost_text}")
    if plan.price is not None:
        say(out, f"  by prices of {plan.price.day}: {plan.price.source}")
    budget = "none" if plan.budget is None else f"${plan.budget}"
    say(out, f"Budget: {budget}")
    sent, originals = human_bytes(plan.bytes_sent), human_bytes(plan.bytes_originals)
    say(out, f"To be sent: {sent}, of originals of {originals}")
    if plan.to_be_made:
        say(out, f"  a guess for {plan.to_be_made} whose proxies are made first")
    say(out, plan.NOTE)


def _show_outcomes(sums: dict[str, Any], out: OutputWrapper) -> None:
    for outcome in Outcome:
        if sums.get(outcome):
            say(out, f"{outcome.value:>12}: {sums[outcome]}")
