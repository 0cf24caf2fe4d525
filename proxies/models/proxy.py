"""Proxies, and notes about proxy files that no row refers to."""

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
    """Return the storage of proxies. A callable, so that migrations contain no location."""
    return field_storage("proxies")


class MeasuredImageField(models.ImageField):
    """An image field whose width and height are set by the generator, so that no instance opens the file."""

    def update_dimension_fields(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: the generator has set the dimensions."""


class ProxyQuerySet(models.QuerySet["Proxy"]):
    def current(self, profile: ProxyProfile) -> ProxyQuerySet:
        """Filter proxies made from the current bytes by the current recipe, by columns; opens no file."""
        return self.filter(
            profile=profile.name, recipe=profile.recipe, source_fingerprint=F("source__fingerprint")
        )

    def stale(self, profile: ProxyProfile) -> ProxyQuerySet:
        """Filter proxies of an older file or of another recipe."""
        return self.filter(profile=profile.name).exclude(
            recipe=profile.recipe, source_fingerprint=F("source__fingerprint")
        )


class Proxy(models.Model):
    """The image that a model reads instead of the original: one per source and profile.

    Only the generator writes ``image``. Width and height are those of the file, in pixels.
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
    # Returned by the storage on the write, if it supports them: they show whether an object was replaced.
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
        """Whether the proxy is external, that is, made by a person or another program."""
        return bool(self.provenance.get("given"))

    def is_current(self, source: MediaFile, profile: ProxyProfile) -> bool:
        """Return whether the proxy is up to date: the test of `ProxyQuerySet.current` on loaded rows."""
        return (self.source_fingerprint, self.recipe) == (source.fingerprint, profile.recipe)


class Thumbnail(models.Model):
    """A small JPEG of an original, which also shows that its bytes have been decoded.

    It is kept in its row, because it has a few kilobytes: no file can be lost or left over.
    """

    source = models.OneToOneField(MediaFile, on_delete=models.CASCADE, primary_key=True, related_name="+")
    source_fingerprint = models.CharField(max_length=80)
    version = models.PositiveSmallIntegerField()
    width = models.PositiveSmallIntegerField()
    height = models.PositiveSmallIntegerField()
    image = models.BinaryField()
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"thumbnail of file {self.source_id}"


class DiscardedProxy(RemovalNote):
    """A proxy file that is being written, or that no row refers to any more.

    Unlike an original's, its name may be reused: the note is resolved under the lease of its source.
    """

    storage_alias = "proxies"

    source_id = models.BigIntegerField()
    profile = models.CharField(max_length=32)
    name = models.CharField(max_length=1024, db_index=True)
    # The recipe of the row whose file is being overwritten; empty for any other file.
    recipe = models.CharField(max_length=80, blank=True)
    created_at = models.DateTimeField(default=now)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return self.name
