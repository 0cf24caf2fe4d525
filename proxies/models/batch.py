"""The ledger: batches, and an item for each of their files."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from media_files.models import MediaFile
from proxies.outcomes import Outcome


class Batch(models.Model):
    """A batch: an operation on many files, who runs it, and its progress.

    The counts are a cache, refreshed from the items at intervals that grow with the cost of counting.
    """

    class State(models.TextChoices):
        RUNNING = "running", _("Running")
        PAUSED = "paused", _("Paused")
        COMPLETED = "completed", _("Completed")
        CANCELLED = "cancelled", _("Cancelled")
        FAILED = "failed", _("Failed")

    class Executor(models.TextChoices):
        QUEUE = "queue"
        LOCAL = "local"

    operation = models.CharField(max_length=32)
    parameters = models.JSONField(default=dict, blank=True)
    executor = models.CharField(max_length=8, choices=Executor, default=Executor.QUEUE)
    state = models.CharField(_("state"), max_length=16, choices=State, default=State.RUNNING)
    # A standing batch accepts items forever, never finishes, and is served before all others.
    standing = models.CharField(max_length=32, unique=True, null=True, editable=False)  # noqa: DJ001
    holder = models.CharField(max_length=128, blank=True, editable=False)
    served_at = models.DateTimeField(default=now, editable=False)

    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    changed_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    paused_reason = models.CharField(max_length=1000, blank=True)
    # The code of the error that paused it, which every further file would hit; empty if a person paused it.
    paused_code = models.CharField(max_length=32, blank=True, editable=False)
    # How many consecutive attempts failed with this code: see `proxies.batches.repeated_errors`.
    alike = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    alike_code = models.CharField(max_length=32, default="", db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    counts = models.JSONField(default=dict, blank=True, editable=False)
    # (seconds since the epoch, items done) at each count of the last minute, to calculate the rate.
    recent = models.JSONField(default=list, blank=True, editable=False)
    counted_at = models.DateTimeField(null=True, editable=False)
    counting_seconds = models.FloatField(default=0, editable=False)
    plan = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = _("batch")
        verbose_name_plural = _("batches")
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["served_at"], name="batch_running", condition=Q(state="running", executor="queue")
            )
        ]

    UPLOADS: Final = "uploads"
    OPEN_STATES: Final = (State.RUNNING, State.PAUSED)

    def __str__(self) -> str:
        return self.job_id

    @property
    def job_id(self) -> str:
        """The batch's name in the API, for example ``batch-image-proxy-12``."""
        return f"batch-{self.operation}-{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN_STATES


class BatchItemQuerySet(models.QuerySet["BatchItem"]):
    def unfinished(self) -> BatchItemQuerySet:
        """Filter queued and running items. Both states are named, because an index can find those."""
        return self.filter(state__in=[BatchItem.State.QUEUED, BatchItem.State.RUNNING])

    def done_with(self, *outcomes: str) -> BatchItemQuerySet:
        """Filter done items by outcome; also by state, which comes before the outcome in the index."""
        return self.filter(state=BatchItem.State.DONE, outcome__in=outcomes)

    def newest_done(self, most: int, *outcomes: str) -> list[BatchItem]:
        """Return the newest done items by id of each outcome, at most ``most`` in total, latest first.

        Takes one index lookup per outcome, however large the batch: sorting by time would cost more the
        longer the batch runs.
        """
        newest = [item for outcome in outcomes for item in self.done_with(outcome).order_by("-id")[:most]]
        newest.sort(key=lambda item: (item.finished_at or item.available_at, item.pk), reverse=True)
        return newest[:most]

    def claimable(self, recipe: str) -> BatchItemQuerySet:
        """Filter queued items of one recipe that are due, earliest first.

        Ordered like the index ``item_queued`` and no other: ordered by id alone, a planner may use the
        primary key and read all done items again for each claim.
        """
        due = self.filter(state=BatchItem.State.QUEUED, recipe=recipe, available_at__lte=now())
        return due.order_by("available_at", "id")


class BatchItem(models.Model):
    """One file of a batch, with its state and outcome."""

    class State(models.TextChoices):
        QUEUED = "queued", _("Queued")
        RUNNING = "running", _("Running")
        DONE = "done", _("Done")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items", db_index=False)
    # No constraint in the database: the ledger keeps items of deleted files, too.
    file = models.ForeignKey(
        MediaFile, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    state = models.CharField(_("state"), max_length=8, choices=State, default=State.QUEUED)
    outcome = models.CharField(max_length=12, blank=True, choices=[(o.value, o.value) for o in Outcome])
    reasons = models.JSONField(default=list, blank=True)
    error = models.CharField(max_length=32, blank=True)
    message = models.TextField(blank=True)
    # The recipe that it was planned with: only workers with the same one take it. Empty for any worker.
    # The default is set in the database, too, because workers of an older version write no recipe.
    recipe = models.CharField(max_length=80, blank=True, default="", db_default="", editable=False)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    transient_failures = models.PositiveSmallIntegerField(default=0)
    available_at = models.DateTimeField(default=now)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_holder = models.CharField(max_length=128, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    # Whether ``attempts`` includes the one under the current lease, whose work may kill its process.
    is_charged = models.BooleanField(default=False, db_default=False, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, blank=True)

    objects = BatchItemQuerySet.as_manager()

    class Meta:
        verbose_name = _("file of a batch")
        verbose_name_plural = _("files of batches")
        default_permissions = ("view",)
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["batch", "file"], condition=Q(state="queued"), name="one_queued_item_per_file"
            )
        ]
        indexes = [
            models.Index(
                fields=["batch", "recipe", "available_at", "id"],
                condition=Q(state="queued"),
                name="item_queued",
            ),
            models.Index(fields=["lease_until"], condition=Q(state="running"), name="item_running"),
            models.Index(fields=["batch", "id"], name="item_batch"),
            # Counting and listing by outcome read only this index.
            models.Index(fields=["batch", "state", "outcome", "id"], name="item_outcome"),
            models.Index(fields=["file"], name="item_file"),
        ]

    def __str__(self) -> str:
        return gettext("file %(file)s in batch %(batch)s") % {"file": self.file_id, "batch": self.batch_id}
