"""Proxies, and the files of proxies that no row names."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import F
from django.utils.timezone import now

from media_files.models import MediaFile
from media_files.removal_notes import RemovalNote
from media_files.storage.base import MediaStorage, field_storage
from proxies.rendering.profiles import ProxyProfile


def proxies_storage() -> MediaStorage:
    """The storage of proxies: a callable, so that migrations name no place."""
    return field_storage("proxies")


class MeasuredImageField(models.ImageField):
    """An image whose width and height its maker knows, so that no instance ever opens the file."""

    def update_dimension_fields(self, *args: Any, **kwargs: Any) -> None:
        """The generator has filled them."""


class ProxyQuerySet(models.QuerySet["Proxy"]):
    def current(self, profile: ProxyProfile) -> ProxyQuerySet:
        """Those made of today's bytes by today's recipe: told by columns, no file is opened."""
        return self.filter(
            profile=profile.name, recipe=profile.recipe, source_fingerprint=F("source__fingerprint")
        )

    def stale(self, profile: ProxyProfile) -> ProxyQuerySet:
        """Those of an older file, or of an older recipe."""
        return self.filter(profile=profile.name).exclude(
            recipe=profile.recipe, source_fingerprint=F("source__fingerprint")
        )


class Proxy(models.Model):
    """What a model reads instead of the original: one for each source and profile.

    ``image`` is written by the generator alone. Width and height are in pixels, those of the file.
    """

    class FileType(models.TextChoices):
        IMAGE = "image"
        VIDEO = "video"

    source = models.ForeignKey(MediaFile, on_delete=models.CASCADE, related_name="proxies")
    file_type = models.CharField(max_length=5, choices=FileType, default=FileType.VIDEO)
    profile = models.CharField(max_length=32, default="nova")
    image = MeasuredImageField(
        storage=proxies_storage,
        max_length=1024,
        width_field="width",
        height_field="height",
        db_index=True,
    )
    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    format = models.CharField(max_length=16, blank=True)
    bytes = models.BigIntegerField()
    sha256 = models.CharField("SHA-256", max_length=64)
    # What the storage answered to the write, where it keeps such: a look-up tells another object by them.
    etag = models.CharField("ETag", max_length=128, blank=True, default="", db_default="", editable=False)
    version = models.CharField(max_length=1024, blank=True, editable=False)
    source_fingerprint = models.CharField(max_length=80, blank=True)
    recipe = models.CharField(max_length=80, blank=True)
    provenance = models.JSONField(default=dict, blank=True)
    seconds = models.FloatField("time taken", null=True, blank=True)
    created_at = models.DateTimeField(default=now)

    objects = ProxyQuerySet.as_manager()

    class Meta:
        verbose_name_plural = "proxies"
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["source", "profile"], name="one_proxy_per_profile")]
        indexes = [models.Index(fields=["sha256"], name="proxy_sha256")]

    def __str__(self) -> str:
        return self.image.name or f"proxy {self.pk}"

    @property
    def is_given(self) -> bool:
        """Whether a person or another program made it."""
        return bool(self.provenance.get("given"))

    def is_current(self, source: MediaFile, profile: ProxyProfile) -> bool:
        """The same test as `ProxyQuerySet.current`, of rows that are at hand."""
        return (self.source_fingerprint, self.recipe) == (source.fingerprint, profile.recipe)


class DiscardedProxy(RemovalNote):
    """A proxy's file that is being written, or that no row names any more.

    Unlike an original's, its name may be used again: the note is resolved under the lease of its source.
    """

    storage_alias = "proxies"

    source_id = models.BigIntegerField()
    profile = models.CharField(max_length=32)
    name = models.CharField(max_length=1024, db_index=True)
    # Of the row whose file is being written over; empty for any other file.
    recipe = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
