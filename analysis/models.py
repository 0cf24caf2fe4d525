"""Models for answers, their labels, copies sent to S3, the call rate and spending."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import models
from django.db.models import F, Q
from django.db.models.deletion import Collector
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from analysis.conf import conf
from analysis.results import Result
from media_files.models import MediaFile
from proxies.models import Batch, Proxy


def keep_answers(collector: Collector, field: Any, rows: Any, using: str) -> None:
    """Keep the answers about deleted files, without a file, for the trash period.

    If the same bytes are imported again, they need not be paid for again. With a period of 0 the answers are
    deleted with the file.
    """
    if not conf().trash_days:
        models.CASCADE(collector, field, rows, using)
        return
    # In this order: the rows of the first update are found by the column that the second one clears.
    collector.add_field_update(Analysis._meta.get_field("removed_at"), now(), rows)
    collector.add_field_update(field, None, rows)


class AnalysisQuerySet(models.QuerySet["Analysis"]):
    def started(self) -> AnalysisQuerySet:
        return self.filter(status=Analysis.Status.STARTED)

    def done(self) -> AnalysisQuerySet:
        return self.filter(status=Analysis.Status.DONE)

    def answering(self, *, sha256: str, provider: str, model: str, request_version: str) -> AnalysisQuerySet:
        """Return the answers to exactly this question about exactly these bytes, newest first."""
        return self.done().filter(
            sha256=sha256, provider=provider, model=model, request_version=request_version
        )

    def of_today(self) -> AnalysisQuerySet:
        """Return each model's newest answer about each file, if the file has not changed since."""
        return self.done().filter(is_newest=True, source_fingerprint=F("file__fingerprint"))

    def left_behind(self) -> AnalysisQuerySet:
        """Return the answers whose file was deleted."""
        return self.filter(file=None)


class AnalysesOfFiles(models.Manager.from_queryset(AnalysisQuerySet)):  # type: ignore[misc]
    """Only answers whose file exists, for lists, searches and counts."""

    def get_queryset(self) -> AnalysisQuerySet:
        found: AnalysisQuerySet = super().get_queryset().filter(file__isnull=False)
        return found


class Analysis(models.Model):
    """One question to one model about one file, and its answer.

    The row is written before the call. If its status is *started* and its holder is dead, the call was
    interrupted and may have been billed. Rows are kept: the newest answer is marked, the others are history.
    """

    class Status(models.TextChoices):
        STARTED = "started", _("Started")
        DONE = "done", _("Done")
        FAILED = "failed", _("Failed")

    class Sent(models.TextChoices):
        PROXY = "proxy"
        ORIGINAL = "original"

    file = models.ForeignKey(
        MediaFile,
        null=True,
        on_delete=keep_answers,
        related_name="analyses",
        help_text="None once the file was deleted: the answer is then kept for the trash period.",
    )
    removed_at = models.DateTimeField(null=True, editable=False, help_text="When the file was deleted.")
    provider = models.CharField(_("provider"), max_length=32)
    model = models.CharField(max_length=512, help_text="Of Nova its id, of Rekognition the feature.")
    request_version = models.CharField(max_length=64, help_text="Changes with all that decides the question.")
    question = models.TextField(blank=True, help_text="A free question; empty for the usual one.")

    profile = models.CharField(max_length=32)
    sent = models.CharField(max_length=8, choices=Sent)
    proxy = models.ForeignKey(Proxy, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    sha256 = models.CharField("SHA-256 of what was sent", max_length=64)
    bytes = models.BigIntegerField("bytes sent")
    width = models.PositiveIntegerField(help_text="Of what was sent, in pixels.")
    height = models.PositiveIntegerField()
    source_fingerprint = models.CharField(max_length=80)

    status = models.CharField(_("state"), max_length=8, choices=Status, default=Status.STARTED)
    result = models.JSONField(default=dict, blank=True)
    raw = models.JSONField("raw answer", default=dict, blank=True)
    search_text = models.TextField(blank=True, editable=False)
    model_version = models.CharField(max_length=64, blank=True, help_text="As the service names it.")
    usage = models.JSONField(default=dict, blank=True)
    cost = models.DecimalField(
        "estimated cost in US dollars", max_digits=14, decimal_places=9, null=True, blank=True
    )
    reserved = models.BigIntegerField(
        default=0, editable=False, help_text="Nano-dollars that the budget holds for this call."
    )
    price_date = models.DateField(null=True, blank=True)
    price_source = models.CharField(max_length=255, blank=True)
    latency = models.FloatField("seconds for the answer", null=True, blank=True)
    error = models.CharField(max_length=32, blank=True)
    message = models.TextField(blank=True)
    is_newest = models.BooleanField(default=False, editable=False)

    batch = models.ForeignKey(Batch, null=True, blank=True, on_delete=models.SET_NULL, related_name="+")
    reused_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    holder = models.CharField(max_length=128, blank=True, editable=False)
    until = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), default=now)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = AnalysesOfFiles()
    # Includes answers about deleted files: for claims, reuse and costs.
    everything = AnalysisQuerySet.as_manager()

    # Identifies a question about given bytes: at most one call at a time, and answers are reused by it.
    KEY: ClassVar = ("sha256", "provider", "model", "request_version")

    class Meta:
        verbose_name = _("analysis")
        verbose_name_plural = _("analyses")
        ordering = ["-id"]
        default_permissions = ("add", "view", "delete")
        constraints = [
            models.UniqueConstraint(
                fields=["sha256", "provider", "model", "request_version"],
                condition=Q(status="started"),
                name="one_call_at_a_time",
            )
        ]
        indexes = [
            models.Index(
                fields=["sha256", "provider", "model", "request_version"],
                condition=Q(status="done"),
                name="analysis_answer",
            ),
            models.Index(fields=["file", "provider", "model"], name="analysis_of_file"),
            models.Index(fields=["provider", "model", "-id"], name="analysis_newest"),
            models.Index(fields=["removed_at"], condition=Q(file=None), name="analysis_removed"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} {self.model} of file {self.file_id}"

    @property
    def original(self) -> MediaFile:
        """Return the file.

        Raises:
            MediaFile.DoesNotExist: it was deleted; `objects` excludes such answers.
        """
        if self.file is None:
            raise MediaFile.DoesNotExist
        return self.file


class AnalysisLabel(models.Model):
    """A label or object in a newest answer, for searching files."""

    analysis = models.ForeignKey(Analysis, on_delete=models.CASCADE, related_name="label_rows")
    name = models.CharField(max_length=255, help_text="In lower case.")
    confidence = models.FloatField(null=True)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["name", "analysis"], name="label_name")]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def rows_of(cls, analysis: Analysis, result: Result) -> list[AnalysisLabel]:
        """Return the unsaved rows for an answer."""
        return [
            cls(analysis=analysis, name=name, confidence=confidence)
            for name, confidence in result.names.items()
            if name
        ]


class SentCopy(models.Model):
    """A local file's copy in the analysis bucket, recorded so that S3 need not be queried.

    A *doubtful* copy may no longer belong to any file.
    """

    bucket = models.CharField(max_length=255)
    key = models.CharField(max_length=1024)
    sha256 = models.CharField(max_length=64, db_index=True)
    is_there = models.BooleanField(default=False, help_text="It has been put, and not been missed since.")
    is_doubtful = models.BooleanField(default=False)
    tried_at = models.DateTimeField(null=True, editable=False, help_text="When its removal failed last.")
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["bucket", "key"], name="one_copy_per_key")]
        indexes = [models.Index(fields=["id"], condition=Q(is_doubtful=True), name="copy_doubtful")]

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class CallRate(models.Model):
    """The earliest time of the next call to a provider, shared by the workers on all machines."""

    provider = models.CharField(max_length=32, primary_key=True)
    next_at = models.BigIntegerField(default=0, help_text="Microseconds since the epoch.")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.provider


class Account(models.Model):
    """The cost of finished calls and the reservations of calls in flight, exact in whole nano-dollars."""

    nano_dollars = models.BigIntegerField(default=0)
    nano_reserved = models.BigIntegerField(default=0)

    class Meta:
        abstract = True
        default_permissions = ()


class Spending(Account):
    """The spending of a batch."""

    batch = models.OneToOneField(Batch, on_delete=models.CASCADE, primary_key=True, related_name="+")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"batch {self.batch_id}"


class DaySpending(Account):
    """The spending of a day's single requests."""

    day = models.DateField(primary_key=True, help_text="UTC")

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.day.isoformat()
