"""Failed files: what was wrong with them, and which ones are quarantined."""

from __future__ import annotations

from django.db import models
from django.utils.timezone import now
from django.utils.translation import gettext_lazy as _

from media_files.models import MediaFile


class Quarantine(models.Model):
    """A file on which one operation failed unexpectedly several times: that operation skips it until a person
    releases it."""

    source = models.ForeignKey(MediaFile, on_delete=models.CASCADE, related_name="quarantines")
    operation = models.CharField(max_length=32, default="image-proxy", db_default="image-proxy")
    fingerprint = models.CharField(max_length=80, blank=True)
    message = models.TextField(_("message"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        verbose_name = _("quarantine")
        verbose_name_plural = _("quarantine")
        constraints = [
            models.UniqueConstraint(fields=["source", "operation"], name="one_quarantine_per_operation")
        ]

    def __str__(self) -> str:
        return f"{self.operation} of file {self.source_id}"


class ProxyFailure(models.Model):
    """The error of the last attempt to make a file's proxy, from these bytes and by this recipe.

    A file's own fault remains until its bytes change: plans show it, and runs do not retry the file unless
    they are forced or asked to retry failed files.
    """

    source = models.ForeignKey(MediaFile, on_delete=models.CASCADE, related_name="proxy_failures")
    profile = models.CharField(max_length=32)
    fingerprint = models.CharField(max_length=80, blank=True)
    recipe = models.CharField(max_length=80)
    error = models.CharField(max_length=32)
    message = models.TextField()
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["source", "profile"], name="one_failure_per_profile")]

    def __str__(self) -> str:
        return f"{self.profile} proxy of file {self.source_id}: {self.error}"
