"""The ledger: batches, and an item for each of their files."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.timezone import now

from media_files.models import MediaFile
from proxies.outcomes import Outcome


class Batch(models.Model):
    """Work over many files: what is to be done, by whom, and how far it is.

    The counts are a cache, made anew from the items when they are older than their making is dear.
    """

    class State(models.TextChoices):
        RUNNING = "running"
        PAUSED = "paused"
        COMPLETED = "completed"
        CANCELLED = "cancelled"
        FAILED = "failed"

    class Executor(models.TextChoices):
        QUEUE = "queue"
        LOCAL = "local"

    operation = models.CharField(max_length=32)
    parameters = models.JSONField(default=dict, blank=True)
    executor = models.CharField(max_length=8, choices=Executor, default=Executor.QUEUE)
    state = models.CharField(max_length=16, choices=State, default=State.RUNNING)
    # A standing batch takes items for ever, is never finished, and is served before all others.
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
    # Where no person paused it but an error that every further file would meet: that error's code.
    paused_code = models.CharField(max_length=32, blank=True, editable=False)
    # How many attempts of late failed with this code and nothing else: see `proxies.batches.repeated_errors`.
    alike = models.PositiveSmallIntegerField(default=0, db_default=0, editable=False)
    alike_code = models.CharField(max_length=32, default="", db_default="", blank=True, editable=False)
    created_at = models.DateTimeField(default=now)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    counts = models.JSONField(default=dict, blank=True, editable=False)
    # (seconds since the epoch, items done) at the counts of the last minute: the rate is read of them.
    recent = models.JSONField(default=list, blank=True, editable=False)
    counted_at = models.DateTimeField(null=True, editable=False)
    counting_seconds = models.FloatField(default=0, editable=False)
    plan = models.JSONField(default=dict, blank=True, editable=False)

    class Meta:
        verbose_name_plural = "batches"
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
        """The name that the API gives a batch: ``batch-image-proxy-12``."""
        return f"batch-{self.operation}-{self.pk}"

    @property
    def is_open(self) -> bool:
        return self.state in self.OPEN_STATES


class BatchItemQuerySet(models.QuerySet["BatchItem"]):
    def unfinished(self) -> BatchItemQuerySet:
        """Those that wait or are in hand. Named by what they are, which an index can find."""
        return self.filter(state__in=[BatchItem.State.QUEUED, BatchItem.State.RUNNING])

    def done_with(self, *outcomes: str) -> BatchItemQuerySet:
        """Those that ended so. The state stands in the index before the outcome, so it is named, too."""
        return self.filter(state=BatchItem.State.DONE, outcome__in=outcomes)

    def newest_done(self, most: int, *outcomes: str) -> list[BatchItem]:
        """Of each outcome the last by number, at the most ``most`` in all, the latest first.

        One look into the index for each outcome, however large the batch: to sort it all by time would
        cost more the longer it runs.
        """
        newest = [item for outcome in outcomes for item in self.done_with(outcome).order_by("-id")[:most]]
        newest.sort(key=lambda item: (item.finished_at or item.available_at, item.pk), reverse=True)
        return newest[:most]

    def claimable(self, recipe: str) -> BatchItemQuerySet:
        """Those of one recipe whose time has come, the first due first.

        In the order of ``item_queued``, which no other index has: by number alone, a planner may go by
        the primary key and read all that is done again before each claim.
        """
        due = self.filter(state=BatchItem.State.QUEUED, recipe=recipe, available_at__lte=now())
        return due.order_by("available_at", "id")


class BatchItem(models.Model):
    """One file of a batch: where it stands, and what became of it."""

    class State(models.TextChoices):
        QUEUED = "queued"
        RUNNING = "running"
        DONE = "done"

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items", db_index=False)
    # No constraint in the database: the ledger tells of files that are gone, too.
    file = models.ForeignKey(
        MediaFile, on_delete=models.DO_NOTHING, db_constraint=False, related_name="+", db_index=False
    )
    state = models.CharField(max_length=8, choices=State, default=State.QUEUED)
    outcome = models.CharField(max_length=12, blank=True, choices=[(o.value, o.value) for o in Outcome])
    reasons = models.JSONField(default=list, blank=True)
    error = models.CharField(max_length=32, blank=True)
    message = models.TextField(blank=True)
    # The recipe that it was planned with: only workers with the same one take it. Empty for any worker.
    # The default is the database's, too, for workers of an older version write no recipe.
    recipe = models.CharField(max_length=80, blank=True, default="", db_default="", editable=False)
    attempts = models.PositiveSmallIntegerField(default=0)
    transient_failures = models.PositiveSmallIntegerField(default=0)
    available_at = models.DateTimeField(default=now)
    lease_token = models.UUIDField(null=True, editable=False)
    lease_holder = models.CharField(max_length=128, blank=True, editable=False)
    lease_until = models.DateTimeField(null=True, editable=False)
    # Whether ``attempts`` holds one for the current lease, whose work may kill its process.
    is_charged = models.BooleanField(default=False, db_default=False, editable=False)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = BatchItemQuerySet.as_manager()

    class Meta:
        verbose_name = "file of a batch"
        verbose_name_plural = "files of batches"
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
            # Counting and listing by outcome read this index alone.
            models.Index(fields=["batch", "state", "outcome", "id"], name="item_outcome"),
            models.Index(fields=["file"], name="item_file"),
        ]

    def __str__(self) -> str:
        return f"file {self.file_id} in batch {self.batch_id}"
