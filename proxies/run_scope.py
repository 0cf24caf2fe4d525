"""The files that one run of a command covers: the same for its plan, its work and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet
from django.utils.timezone import now

from media_files.console import UsageError, counted
from media_files.models import MediaFile
from proxies.batches import operations
from proxies.batches.selection import Selection
from proxies.models import Batch, BatchItem, BatchItemQuerySet
from proxies.outcomes import NEEDS_WORK

# Stored with a batch so that only a run with the same limit has the same options; no operation reads it.
LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Scope:
    """The scope of a run.

    Attributes:
        parameters: of the operation, as its batch stores them.
        files: all files that are planned and reported.
        left: the batch of an earlier run that this one resumes, if any.
        last_item: the last item of ``left`` that this run processes; None for all of them.
        new_files: the files that get a batch of their own, after ``left``.
        began: when the scope was set; items that finished before belong to an earlier run.
        ignored: an earlier run's batch that this one does not resume, if any.
    """

    parameters: dict[str, Any]
    files: QuerySet[MediaFile]
    left: Batch | None
    last_item: int | None
    new_files: QuerySet[MediaFile]
    began: datetime
    ignored: Batch | None

    @property
    def selection(self) -> Selection:
        return Selection(self.files)

    @property
    def notice(self) -> str:
        """Return a message about an earlier run's batch; empty if there is none."""
        if self.left is not None:
            return f"Resuming {self.left.job_id}, {_files_left(self.left)} left."
        if self.ignored is not None:
            return (
                f"{self.ignored.job_id} of an earlier run has {_files_left(self.ignored)} left and is not "
                "resumed. Use --resume to resume it."
            )
        return ""


def scope_of(
    operation: str, parameters: Mapping[str, Any], *, limit: int | None = None, resume: bool = False
) -> Scope:
    """Return what a run with these options covers.

    A run resumes the unfinished batch of an earlier one if all its options are the same and it has no limit.
    With ``resume``, it resumes only the newest unfinished batch, with the options of that batch.

    Args:
        operation: its name.
        parameters: of the operation. With ``resume``, only those that were given.
        limit: the maximum number of files that this run processes.
        resume: whether to resume the newest unfinished batch.

    Raises:
        UsageError: there is no batch to resume.
    """
    left, changeable = _left_behind(operation), operations.get(operation).changeable
    if resume:
        return _resumed(operation, left, parameters, limit)
    wanted = {**parameters, **({} if limit is None else {LIMIT: limit})}
    same = next((batch for batch in left if limit is None and _is_same(batch, wanted, changeable)), None)
    moment = now()
    files: QuerySet[MediaFile] = MediaFile.objects.images()
    if same is None:
        files = _limited(operation, files, parameters, limit)
        return Scope(wanted, files, None, None, files, moment, next(iter(left), None))
    if parameters.get("force"):
        # Files that this batch has done are left out; a separate batch would process them again.
        files = files.exclude(_of_files(_done_before(same, moment)))
    new_files = files.exclude(_of_files(_not_done_before(same, moment)))
    # Parameters that are not given keep their values.
    kept = {name: same.parameters.get(name) for name in changeable if wanted.get(name) is None}
    return Scope(wanted | kept, files, same, None, new_files, moment, None)


def _resumed(operation: str, left: list[Batch], given: Mapping[str, Any], limit: int | None) -> Scope:
    changeable = operations.get(operation).changeable
    fixed = {name: value for name, value in given.items() if name not in changeable}
    batch = next((batch for batch in left if batch.parameters | fixed == batch.parameters), None)
    if batch is None:
        which = "with these options " if fixed and left else ""
        raise UsageError(f"There is no interrupted batch {which}to resume. Run without --resume.")
    moment = now()
    items = _not_done_before(batch, moment)
    last = (
        None
        if limit is None
        else items.order_by("id").values_list("pk", flat=True)[limit - 1 : limit].first()
    )
    if last is not None:
        items = items.filter(pk__lte=last)
    files = MediaFile.objects.filter(_of_files(items))
    parameters = {**batch.parameters, **given}
    return Scope(parameters, files, batch, last, MediaFile.objects.none(), moment, None)


def _left_behind(operation: str) -> list[Batch]:
    """Return the open batches of earlier runs, newest first."""
    started = Batch.objects.filter(
        operation=operation,
        executor=Batch.Executor.LOCAL,
        state__in=Batch.OPEN_STATES,
        started_at__isnull=False,
    )
    return list(started.order_by("-id"))


def _is_same(batch: Batch, parameters: Mapping[str, Any], changeable: Sequence[str]) -> bool:
    unset = dict.fromkeys(changeable)
    return bool({**batch.parameters, **unset} == {**parameters, **unset})


def _limited(
    operation: str, files: QuerySet[MediaFile], parameters: Mapping[str, Any], limit: int | None
) -> QuerySet[MediaFile]:
    """Return the files up to the last one within the limit, in order of ids; without a limit, all files."""
    if limit is None:
        return files
    annotated = operations.get(operation).annotate(files, parameters)
    to_do = annotated.filter(outcome__in=[outcome.value for outcome in NEEDS_WORK]).order_by("pk")
    last = to_do.values_list("pk", flat=True)[limit - 1 : limit].first()
    return files if last is None else files.filter(pk__lte=last)


def _done_before(batch: Batch, moment: datetime) -> BatchItemQuerySet:
    return BatchItem.objects.filter(batch=batch, state=BatchItem.State.DONE, finished_at__lt=moment)


def _not_done_before(batch: Batch, moment: datetime) -> BatchItemQuerySet:
    """Return the items that were unfinished at ``moment``, whether or not they still are."""
    return BatchItem.objects.filter(batch=batch).exclude(state=BatchItem.State.DONE, finished_at__lt=moment)


def _of_files(items: BatchItemQuerySet) -> Exists:
    return Exists(items.filter(file=OuterRef("pk")))


def _files_left(batch: Batch) -> str:
    return counted(BatchItem.objects.filter(batch=batch).unfinished().count(), "file")
