"""Processes: their heartbeats, the slots in which they work, and the state that supervisors report."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _


class Heartbeat(models.Model):
    """The time of the last heartbeat of a process that holds leases, by the database's clock."""

    process = models.CharField(max_length=128, primary_key=True)
    beat_at = models.DateTimeField(db_index=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.process


class WorkerStateQuerySet(models.QuerySet["WorkerState"]):
    # A supervisor without a report for this long is not counted.
    SILENCE: Final = timedelta(minutes=2)

    def alive(self) -> WorkerStateQuerySet:
        """Filter workers whose cluster accepts work."""
        return self.filter(state="running", beat_at__gt=now() - self.SILENCE)


class WorkerState(models.Model):
    """A supervisor's last report on its cluster.

    ``process`` is the supervisor's identity; empty for a supervisor of an older version.
    """

    process = models.CharField(max_length=128, unique=True, null=True, editable=False)  # noqa: DJ001
    host = models.CharField(max_length=128)
    pid = models.PositiveIntegerField()
    cluster_pid = models.PositiveIntegerField(null=True)
    processes = models.PositiveSmallIntegerField(_("processes"), default=0)
    started_at = models.DateTimeField(_("started at"))
    beat_at = models.DateTimeField()
    last_task_at = models.DateTimeField(_("last task at"), null=True)
    state = models.CharField(max_length=16)
    # By profile; None for a worker of an older version, which reports none.
    recipes = models.JSONField(null=True, editable=False)
    # A digest of each setting that workers must share (`proxies.processes.shared_settings`).
    settings = models.JSONField(null=True, editable=False)
    restarts = models.PositiveIntegerField(_("restarts"), default=0)
    message = models.CharField(max_length=255, blank=True)

    objects = WorkerStateQuerySet.as_manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"worker on {self.host} ({self.pid}), {self.state}"


class WorkerSlot(models.Model):
    """One of the few jobs that the queue holds at a time: a chain of ticks, each of which enqueues the next.

    ``generation`` counts the ticks of a slot. A job of an older generation was delivered twice, or its worker
    was presumed dead; it returns at once.
    """

    class State(models.TextChoices):
        IDLE = "idle"
        NOTIFIED = "rung", "Notified"
        RUNNING = "running"

    number = models.PositiveSmallIntegerField(primary_key=True)
    generation = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=8, choices=State, default=State.IDLE)
    holder = models.CharField(max_length=128, blank=True)
    changed_at = models.DateTimeField(default=now)

    class Meta:
        db_table = "proxies_lane"
        default_permissions = ()

    def __str__(self) -> str:
        return f"slot {self.number}, generation {self.generation}, {self.state}"
