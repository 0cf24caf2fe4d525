"""Leases on proxies."""

from __future__ import annotations

from django.db import models


class ProxyLease(models.Model):
    """The exclusive right to write the proxy of one source and profile.

    Two concurrent writers of one name could leave a row marked *current* that describes the other's bytes.
    """

    source_id = models.BigIntegerField()
    profile = models.CharField(max_length=32)
    token = models.UUIDField()
    holder = models.CharField(max_length=128)
    until = models.DateTimeField()
    # The proxy's name without extension, to find its file if the holder died and the source was deleted.
    stem = models.CharField(max_length=1024, blank=True)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["source_id", "profile"], name="one_lease_per_proxy")]

    def __str__(self) -> str:
        return f"{self.profile} proxy of file {self.source_id}, held by {self.holder}"
