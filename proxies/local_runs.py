"""Shared code of the commands that run a batch themselves: take it over, show its progress."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from django.core.management.base import OutputWrapper

from media_files.console import Interrupted, NowAndThen, Tool, UsageError, printable, progress_bar
from media_files.errors import Unexpected
from media_files.models import MediaFile
from proxies.batches import lifecycle, local_runner, operations
from proxies.batches.counts import counts_of
from proxies.batches.delays import delays_of
from proxies.batches.lifecycle import WrongState
from proxies.batches.local_runner import CrewLost, HeldElsewhere
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.labels import work_text
from proxies.models import Batch
from proxies.outcomes import Outcome
from proxies.rendering.profiles import ProxyProfile
from proxies.run_scope import Scope

FAILURES_SHOWN: Final = 50
SECONDS_BETWEEN_LINES: Final = 10.0
SECONDS_BETWEEN_QUESTIONS: Final = 1.0


class ReportLine(Protocol):
    """What became of one file."""

    @property
    def file(self) -> MediaFile: ...
    @property
    def outcome(self) -> str: ...
    @property
    def error(self) -> str: ...
    @property
    def message(self) -> str: ...

    def as_json(self) -> dict[str, Any]: ...


LineT = TypeVar("LineT", bound=ReportLine)
PlanT = TypeVar("PlanT", bound=Plan)


class RunsBatches(Tool):
    """A command that runs batches in its own processes.

    Attributes:
        as_json: whether standard output is reserved for lines of JSON.
        going_on: how to resume a stopped batch; may contain a placeholder for its number.
        batches: those that this run has processed, in order.
    """

    as_json: bool = False
    going_on: str = "--batch {} resumes it."

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batches: list[Batch] = []

    def announce(self, scope: Scope) -> None:
        """Print which earlier batch is resumed, or that one is not."""
        if scope.notice:
            say(self.stderr, scope.notice)

    def is_confirmed(self, plan: PlanT, show: Callable[[PlanT, OutputWrapper], None], question: str) -> bool:
        """Show the plan on a terminal and ask whether to start; elsewhere, return True.

        With --json, standard output is reserved for its lines, so the question goes to standard error.
        """
        if not sys.stdin.isatty() or not plan.needs_work:
            return True
        out = self.stderr if self.as_json else self.stdout
        show(plan, out)
        out.write(f"{question} [y/N] ", ending="", style_func=str)
        out.flush()
        if sys.stdin.readline().strip().lower() in ("y", "yes"):
            return True
        out.write("Nothing was changed.", style_func=str)
        return False

    def enqueue(self, operation: str, scope: Scope, plan: Plan, totals: dict[str, Any]) -> None:
        """Leave the batch to the workers of the job queue, and report its number and the plan's totals."""
        batch = None
        if plan.needs_work:
            batch = lifecycle.start(
                operation, scope.selection, scope.parameters, with_settled=False, planned=plan
            )
        if self.as_json:
            self.write_json(totals=totals, batch=batch.pk if batch else None, dry_run=False)
        elif batch:
            self.stdout.write(
                f"Handed to the workers as batch {batch.pk} ({batch.job_id}): {work_text(plan)}."
            )
        else:
            self.stdout.write("There is nothing to do.")

    def write_lines(self, lines: Iterable[LineT], add: Callable[[LineT], None]) -> list[LineT]:
        """Pass each line to `add`, write it with --json, and return the first failures."""
        failures: list[LineT] = []
        for line in lines:
            add(line)
            if line.outcome in (Outcome.FAILED, Outcome.QUARANTINED) and len(failures) < FAILURES_SHOWN:
                failures.append(line)
            if self.as_json:
                self.write_json(**line.as_json())
        return failures

    def show_failures(self, failures: Sequence[ReportLine], failed: int) -> None:
        """Print the failures, and how many more there are of ``failed``."""
        for line in failures:
            name = printable(line.file.original_name)
            self.stdout.write(f"  {name} ({line.file.pk}): {line.error}: {printable(line.message)}")
        if failed > len(failures):
            self.stdout.write(f"  and {failed - len(failures)} more; --json lists all.")

    def do(self, operation: str, scope: Scope, plan: Plan, workers: int | None) -> None:
        """Process all files in the scope.

        Raises:
            UsageError: another command is running the batch to be resumed. Nothing is changed.
            Interrupted: a batch was paused or ended before it was done.
        """
        parameters = scope.parameters
        if scope.left is not None:
            self.batches.append(scope.left)
            self.work_on(scope.left, workers, new_parameters=_changes(scope), last_item=scope.last_item)
            parameters = operations.get(operation).remaining(scope.parameters, scope.left)
            plan = lifecycle.plan(operation, Selection(scope.new_files), parameters)
        if plan.needs_work:
            batch = lifecycle.start(
                operation,
                Selection(scope.new_files),
                parameters,
                executor=Batch.Executor.LOCAL,
                with_settled=False,
                planned=plan,
            )
            self.batches.append(batch)
            self.work_on(batch, workers)

    def work_on(
        self,
        batch: Batch,
        workers: int | None,
        *,
        new_parameters: Mapping[str, Any] | None = None,
        last_item: int | None = None,
    ) -> None:
        """Run a batch until it is done.

        Args:
            batch: of a command.
            workers: the number of processes; by default one per core.
            new_parameters: parameters to change before the work starts.
            last_item: where this run ends; the batch is then paused.

        Raises:
            UsageError: another command is running it. Nothing is changed.
            Interrupted: it was paused or ended before it was done.
        """
        take_over(batch)
        with suppress(WrongState):  # a person changed it first
            if new_parameters and batch.state == Batch.State.RUNNING:  # its process was killed
                lifecycle.pause(batch)
            if batch.state == Batch.State.PAUSED:
                lifecycle.resume(batch, new_parameters=new_parameters)
        total = counts_of(batch, exact=True)["total"]
        with progress_bar(total) as bar:
            show = self._follow(batch, bar)
            try:
                with _interrupted_by_signals():
                    local_runner.run(
                        *(batch, workers or os.cpu_count() or 1, show),
                        on_wait=partial(self._tell_of_wait, batch),
                        last_item=last_item,
                    )
            except (KeyboardInterrupt, BrokenPipeError):
                with suppress(WrongState):  # it has ended, or was paused before
                    lifecycle.pause(batch, reason="The command was interrupted.")
                raise
            except CrewLost as lost:
                with suppress(WrongState):
                    lifecycle.pause(batch, reason=str(lost), code=Unexpected.code)
        if last_item is not None and batch.state == Batch.State.RUNNING:
            with suppress(WrongState):
                lifecycle.pause(batch, reason="The run's limit was reached.")
        elif batch.state != Batch.State.COMPLETED:
            raise Interrupted(self._stopped_by(batch))

    def _tell_of_wait(self, batch: Batch) -> None:
        """Print why the command does not end at once."""
        what = "answers that may be billed" if operations.get(batch.operation).waits else "the files in hand"
        say(self.stderr, f"Waiting for {what}. Press Ctrl-C again to stop at once.")

    def _follow(self, batch: Batch, bar: Any) -> Any:
        """Return a function that shows the progress: a bar on a terminal, else an occasional line."""
        is_time_to_tell = NowAndThen(SECONDS_BETWEEN_LINES)
        is_time_to_ask = NowAndThen(SECONDS_BETWEEN_QUESTIONS)
        reported: set[str] = set()

        def show() -> None:
            counts = counts_of(batch)
            bar.update(counts["done"] - bar.n)
            for delay in delays_of([batch]).get(batch.pk, []) if is_time_to_ask() else []:
                if delay.error not in reported:
                    reported.add(delay.error)
                    with bar.external_write_mode():
                        say(self.stderr, delay.text)
            if bar.disable and not self.as_json and is_time_to_tell():
                self.stdout.write(f"{counts['done']} of {counts['total']} done")
                self.stdout.flush()

        return show

    def _stopped_by(self, batch: Batch) -> str:
        """Return the message for a batch that a person or an error paused or ended while it ran."""
        by = f" by {batch.changed_by}" if batch.changed_by else ""
        why = f": {batch.paused_reason.removesuffix('.')}" if batch.paused_reason else ""
        further = f" {self.going_on.format(batch.pk)}" if batch.is_open else ""
        return f"{batch.job_id} was {batch.state}{by}{why}.{further}"


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Make TERM and HUP end the block like Ctrl-C, unless they are ignored, as under nohup."""
    before = {}
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            before[number] = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def profile_of(parameters: Mapping[str, Any]) -> ProxyProfile:
    """Return the profile of a run.

    Raises:
        UsageError: the settings no longer have it.
    """
    name = parameters.get("profile") or "nova"
    try:
        return conf().profiles[name]
    except KeyError:
        raise UsageError(f"There is no profile {name!r} any more. Add it to NOVAPROXY_PROFILES.") from None


def _changes(scope: Scope) -> dict[str, Any]:
    """Return the parameters that this run changes in the batch it resumes."""
    before = scope.left.parameters if scope.left is not None else {}
    return {name: value for name, value in scope.parameters.items() if value != before.get(name)}


def take_over(batch: Batch) -> None:
    """Make this process the one that runs the batch.

    Raises:
        UsageError: another command is running it.
    """
    try:
        local_runner.take_over(batch)
    except HeldElsewhere as error:
        raise UsageError(str(error)) from error


def say(out: OutputWrapper, text: str) -> None:
    """Write a line without the colour of errors, to either stream."""
    out.write(text, style_func=str)
