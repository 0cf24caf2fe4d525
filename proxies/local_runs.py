"""What the commands share that work on a batch by themselves: taking it over, showing how far it is."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Final

from django.core.management.base import OutputWrapper
from django.utils.timezone import now

from media_files.console import Interrupted, NowAndThen, Tool, UsageError, progress_bar
from proxies.batches import lifecycle, local
from proxies.batches.counts import counts_of
from proxies.batches.lifecycle import WrongState
from proxies.batches.local import HeldElsewhere
from proxies.models import Batch, BatchItem

SECONDS_BETWEEN_LINES: Final = 10.0
SECONDS_BETWEEN_QUESTIONS: Final = 1.0


class RunsBatches(Tool):
    """A command that works on batches with processes of its own.

    Attributes:
        as_json: whether standard output is for lines of JSON alone.
        going_on: how to go on with a batch that was stopped, of whose number it may make use.
    """

    as_json: bool = False
    going_on: str = "--batch {} goes on with it."

    def work_on(self, batch: Batch, workers: int | None) -> None:
        """Work on a batch until it is done, with as many processes; one for each core unless told.

        Raises:
            UsageError: another command is at work on it.
            Interrupted: it was paused or ended before.
        """
        take_over(batch)
        if batch.state == Batch.State.PAUSED:
            with suppress(WrongState):  # a person was faster
                lifecycle.resume(batch)
        total = counts_of(batch, exact=True)["total"]
        with progress_bar(total) as bar:
            show = self._follow(batch, bar)
            try:
                local.run(batch, workers or os.cpu_count() or 1, show)
            except (KeyboardInterrupt, BrokenPipeError):
                with suppress(WrongState):  # it has ended, or was paused before
                    lifecycle.pause(batch, reason="The command was interrupted.")
                raise
        if batch.state != Batch.State.COMPLETED:
            raise Interrupted(self._stopped_by(batch))

    def _follow(self, batch: Batch, bar: Any) -> Any:
        """What shows the progress: a bar on a terminal, else a line now and then."""
        is_time_to_tell = NowAndThen(SECONDS_BETWEEN_LINES)
        is_time_to_ask = NowAndThen(SECONDS_BETWEEN_QUESTIONS)
        told: set[str] = set()

        def show() -> None:
            counts = counts_of(batch)
            bar.update(counts["done"] - bar.n)
            if is_time_to_ask() and (item := _put_off_last(batch)) and item.error not in told:
                told.add(item.error)
                with bar.external_write_mode():
                    say(self.stderr, f"Put off: {item.message}")
            if bar.disable and not self.as_json and is_time_to_tell():
                self.stdout.write(f"{counts['done']} of {counts['total']} done")
                self.stdout.flush()

        return show

    def _stopped_by(self, batch: Batch) -> str:
        """What to tell of a batch that was paused or ended while it ran, by somebody or by itself."""
        by = f" by {batch.changed_by}" if batch.changed_by else ""
        why = f": {batch.paused_reason.removesuffix('.')}" if batch.paused_reason else ""
        further = f" {self.going_on.format(batch.pk)}" if batch.is_open else ""
        return f"{batch.job_id} was {batch.state}{by}{why}.{further}"


def take_over(batch: Batch) -> None:
    """Make this process the one that runs the batch.

    Raises:
        UsageError: another command is at work on it.
    """
    try:
        local.take_over(batch)
    except HeldElsewhere as error:
        raise UsageError(str(error)) from error


def _put_off_last(batch: Batch) -> BatchItem | None:
    """The item that waits longest for a storage or a service to come back: its message says for which.

    The last by its time, which an index finds; those before it have met much the same.
    """
    waiting = batch.items.filter(state=BatchItem.State.QUEUED, available_at__gt=now())
    return waiting.exclude(error="").order_by("-available_at", "-id").first()


def say(out: OutputWrapper, text: str) -> None:
    """A line without the colour of errors, wherever it goes."""
    out.write(text, style_func=str)
