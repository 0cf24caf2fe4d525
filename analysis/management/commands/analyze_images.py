"""Analyze images with a model, or preview the outcomes and the cost."""

from __future__ import annotations

from argparse import ArgumentParser, BooleanOptionalAction
from typing import Any, Final

from django.core.management.base import OutputWrapper

from analysis import budgets
from analysis.errors import NotConfigured
from analysis.options import Run, budget_of, parameters_of
from analysis.planning import AnalysisPlan, plan_analyses
from analysis.providers import aws, names
from analysis.reports import Totals, done_lines, planned_lines
from analysis.reread import Totals as RereadTotals
from analysis.reread import reread
from media_files.console import Interrupted, UsageError, counted
from media_files.localised import human_bytes
from proxies.conf import conf
from proxies.local_runs import RunsBatches, say
from proxies.outcomes import Outcome
from proxies.run_scope import Scope, scope_of

# Options without effect when no call is made.
_OF_A_CALL: Final = ("force", "max_cost", "question", "features", "queue", "workers", "resume")


class Command(RunsBatches):
    going_on = "Run the same command again to resume."
    help = (
        "Show what a run would do and cost (the default), or with --no-dry-run send the images to a model. "
        "Existing answers are not paid for again. After an interruption, run it again to resume."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--dry-run", action=BooleanOptionalAction, default=True, help="only show the preview"
        )
        parser.add_argument("--provider", default="nova", choices=names())
        parser.add_argument("--profile", choices=sorted(conf().profiles), help="default: nova")
        parser.add_argument("--limit", type=int, metavar="N", help="stop after N files that need work")
        parser.add_argument("--force", action="store_true", help="ask again what was answered before")
        parser.add_argument("--max-cost", metavar="DOLLARS", help="stop before this much is spent")
        parser.add_argument("--question", default="", help="of Nova, instead of the usual description")
        parser.add_argument("--features", default="", help="of Rekognition: labels,text,moderation,...")
        parser.add_argument(
            "--reread", action="store_true", help="read the kept raw answers again; no call is made or paid"
        )
        parser.add_argument(
            "--resume", action="store_true", help="resume the newest batch that was left, and nothing else"
        )
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
        parser.add_argument("--queue", action="store_true", help="let the workers do it instead")
        parser.add_argument("--yes", action="store_true", help="do not ask first")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")

    def work(self, **options: Any) -> bool:
        _check(options)
        self.as_json = options["json"]
        self.operation = f"analyze-{options['provider']}"
        if options["reread"]:
            return self._reread(options)
        scope = scope_of(
            self.operation, _parameters(options), limit=options["limit"], resume=options["resume"]
        )
        run = _run_of(options["provider"], scope.parameters)
        self.announce(scope)
        plan = plan_analyses(scope.selection, run, aws.missing_setup())
        if options["dry_run"]:
            return self._tell_plan(scope, run, plan)
        if plan.missing:
            raise UsageError(" ".join(plan.missing))
        question = f"Analyze {counted(plan.needs_work, 'image')} now?"
        if not options["yes"] and not self.is_confirmed(plan, _show_plan, question):
            return True
        if options["queue"]:
            self.enqueue(self.operation, scope, plan, plan.as_json())
            return True
        return self._run(scope, run, plan, options["workers"])

    # -- Modes -----------------------------------------------------------------------------------

    def _tell_plan(self, scope: Scope, run: Run, plan: AnalysisPlan) -> bool:
        batch = scope.left.pk if scope.left else None
        if self.as_json:
            for line in planned_lines(scope.files, run):
                self.write_json(**line.as_json())
            self.write_json(totals=plan.as_json(), batch=batch, dry_run=True)
        else:
            self.stdout.write("Dry run: nothing is sent. Use --no-dry-run to run it.")
            _show_plan(plan, self.stdout)
        return True

    def _reread(self, options: dict[str, Any]) -> bool:
        if given := [name for name in _OF_A_CALL if options[name] not in (None, "", False)]:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
            raise UsageError(f"--reread makes no call, so it does not take {names}.")
        totals = RereadTotals()
        for found in reread(options["provider"], apply=not options["dry_run"], limit=options["limit"]):
            totals.add(found)
            if self.as_json:
                self.write_json(**found.as_json())
        if self.as_json:
            self.write_json(totals=totals.as_json(), batch=None, dry_run=options["dry_run"])
        else:
            if options["dry_run"]:
                self.stdout.write("Dry run: nothing is changed. Add --no-dry-run to apply it.")
            _show_outcomes(totals.as_json(), self.stdout)
            self.stdout.write("Kept answers were read again. No call was made, and nothing was paid.")
        return not totals.outcomes[Outcome.FAILED]

    def _run(self, scope: Scope, run: Run, plan: AnalysisPlan, workers: int | None) -> bool:
        try:
            self.do(self.operation, scope, plan, workers)
        except Interrupted as stopped:
            self._report(scope, run)
            if self.batches[-1].paused_code not in ("", budgets.USED_UP):
                # A setting is wrong: running the command again unchanged would fail the same way.
                raise UsageError(str(stopped)) from stopped
            raise
        return self._report(scope, run)

    # -- Report ----------------------------------------------------------------------------------

    def _report(self, scope: Scope, run: Run) -> bool:
        totals = Totals()
        lines = done_lines(scope.files, run, self.batches, since=scope.began)
        failures = self.write_lines(lines, totals.add)
        sums = totals.as_json()
        failed = sums[Outcome.FAILED] + sums[Outcome.QUARANTINED]
        if self.as_json:
            self.write_json(totals=sums, batch=self.batches[-1].pk if self.batches else None, dry_run=False)
            return not failed
        _show_outcomes(sums, self.stdout)
        self.stdout.write(f"Estimated cost: ${sums['cost']}; sent: {human_bytes(sums['bytes_sent'])}")
        self.show_failures(failures, failed)
        return not failed


def _check(options: dict[str, Any]) -> None:
    for name in ("limit", "workers"):
        if options[name] is not None and options[name] < 1:
            raise UsageError(f"--{name} takes a number from 1.")
    if options["resume"] and options["queue"]:
        raise UsageError("--resume works on a batch here; --queue starts a new one. Use one of them.")


def _parameters(options: dict[str, Any]) -> dict[str, Any]:
    """Return the operation's parameters; when resuming a batch, only those that were given.

    Raises:
        UsageError: the budget is not an amount of money.
    """
    features = [name.strip() for name in options["features"].split(",") if name.strip()]
    try:
        max_cost = budget_of(options["max_cost"]) if options["max_cost"] is not None else None
    except ValueError as error:
        raise UsageError(str(error)) from error
    parameters = parameters_of(
        force=options["force"],
        profile=options["profile"] or "",
        question=options["question"],
        features=features,
        max_cost=max_cost,
    )
    if options["resume"]:
        return {name: value for name, value in parameters.items() if value}
    return parameters | {"profile": options["profile"] or "nova"}


def _run_of(provider: str, parameters: dict[str, Any]) -> Run:
    """Return the run for these parameters.

    Raises:
        UsageError: the parameters or the settings are invalid.
    """
    try:
        run = Run.of(provider, parameters)
        if not run.requests:
            raise UsageError("Nothing is sent to the model.")
    except (ValueError, NotConfigured) as error:
        raise UsageError(str(error)) from error
    return run


def _show_plan(plan: AnalysisPlan, out: OutputWrapper) -> None:
    for sentence in plan.missing:
        say(out, sentence)
    _show_outcomes(dict(plan.outcomes), out)
    say(out, f"Billed calls: {plan.calls}; answered before: {plan.calls_saved}")
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
    say(out, str(plan.NOTE))


def _show_outcomes(sums: dict[str, Any], out: OutputWrapper) -> None:
    for outcome in Outcome:
        if sums.get(outcome):
            say(out, f"{outcome.value:>12}: {sums[outcome]}")
