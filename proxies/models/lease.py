"""The right to write a proxy."""

from __future__ import annotations

from django.db import models


class ProxyLease(models.Model):
    """The right to write one source's proxy of one profile, through whatever door.

    Two writers of one name would leave a row that says *current* over the other's bytes.
    """

    source_id = models.BigIntegerField()
    profile = models.CharField(max_length=32)
    token = models.UUIDField()
    holder = models.CharField(max_length=128)
    until = models.DateTimeField()
    # The proxy's name up to its extension: where to look when the holder died with its source gone.
    stem = models.CharField(max_length=1024, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["source_id", "profile"], name="one_lease_per_proxy")]

    def __str__(self) -> str:
        return f"{self.profile} proxy of file {self.source_id}, held by {self.holder}"
