"""Originals: what people put in, and the facts that are read of it as it goes by."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any, BinaryIO, cast
from uuid import uuid4

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import storages
from django.db import models, transaction
from django.db.models.fields.files import FieldFile
from django.utils.timezone import get_default_timezone, is_naive, make_aware

from media_files.conf import limits
from media_files.errors import MediaError
from media_files.facts import FileFacts, read_facts
from media_files.inspection import ImageFacts
from media_files.names import readable_name, safe_stem
from media_files.storage import MediaStorage, media_storage

logger = logging.getLogger(__name__)


def originals_storage() -> MediaStorage:
    """The storage of new originals: a callable, so that migrations name no place."""
    return media_storage("originals")


def stored_name(instance: MediaFile, filename: str) -> str:
    """A name that was never used before and never will be, so nothing in a storage is overwritten."""
    unique = uuid4().hex
    extension = instance.format.lower() or "bin"
    return f"original/{unique[:2]}/{unique}/{safe_stem(filename)}.{extension}"


class DiscardedFile(models.Model):
    """A file that no row names any more, to be removed after the commit that said so.

    Written in that transaction, so that a process killed before the removal leaves a note for the
    sweeper instead of a file that nobody knows.
    """

    storage_alias = models.CharField(max_length=64)
    name = models.CharField(max_length=1024)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.storage_alias}: {self.name}"

    @classmethod
    def discard(cls, storage_alias: str, name: str | None) -> None:
        """Have the file under ``name`` removed once the current transaction has been committed."""
        if name:
            transaction.on_commit(cls.objects.create(storage_alias=storage_alias, name=name).remove)

    def remove(self) -> bool:
        """Remove the file, then this note. False where the storage did not answer; the note stays then.

        A name that a row bears (a copied row shares its file) is left alone.
        """
        try:
            if not MediaFile.objects.filter(storage_alias=self.storage_alias, file=self.name).exists():
                storages[self.storage_alias].delete(self.name)
        except MediaError as error:
            logger.warning("Could not remove %s yet; the sweeper tries again: %s", self, error)
            return False
        self.delete()
        return True

    remove.alters_data = True  # type: ignore[attr-defined]

    @classmethod
    def remove_left_over(cls) -> int:
        """Remove the files whose removal was cut short; return how many went."""
        return sum(discarded.remove() for discarded in cls.objects.order_by("id")[:1000])


class OriginalFile(FieldFile):
    """The file of one row, in the storage that the row names."""

    instance: MediaFile

    def __init__(self, instance: MediaFile, field: models.FileField, name: str | None) -> None:
        super().__init__(instance, field, name)
        if instance.storage_alias:
            self.storage = storages[instance.storage_alias]

    @property
    def is_stored(self) -> bool:
        """False for a file that was assigned and lies in no storage yet."""
        return bool(self._committed)

    def save(self, name: str | None, content: File[Any], save: bool = True) -> None:
        """Read the facts of ``content`` as it goes by, and put it under a new name.

        Raises:
            MediaError: for what is no picture or video that may be kept; nothing is stored then.
        """
        instance = self.instance
        stream = cast(BinaryIO, content.file)
        facts = instance.pending_facts or read_facts(stream, limits())
        instance.pending_facts = None
        instance.original_name = readable_name(instance.original_name or name or "")
        instance.storage_alias, instance.managed = "originals", True
        instance.set_facts(facts)
        self.storage = storage = originals_storage()
        stream.seek(0)
        stored = storage.put(
            self.field.generate_filename(instance, instance.original_name),
            stream,
            content_type=facts.content_type,
        )
        instance.etag, instance.version = stored.etag, stored.version
        self.name = stored.name
        setattr(instance, self.field.attname, self.name)
        self._committed = True
        if save:
            instance.save()

    save.alters_data = True  # type: ignore[attr-defined]  # Django's marker for templates


class OriginalField(models.FileField):
    attr_class = OriginalFile


class MediaFileQuerySet(models.QuerySet["MediaFile"]):
    def images(self) -> MediaFileQuerySet:
        return self.filter(file_type=MediaFile.FileType.IMAGE)


class MediaFile(models.Model):
    """One original and its facts.

    Widths and heights are those of the upright picture, in pixels; ``orientation`` says how the
    stored one must be turned for that (1 to 8, as in EXIF). A row made from a name alone, as of an
    original registered in place, has no facts until its first full read: ``width`` is None then.
    """

    class FileType(models.TextChoices):
        IMAGE = "image"
        VIDEO = "video"

    file = OriginalField(upload_to=stored_name, storage=originals_storage, max_length=1024, db_index=True)
    storage_alias = models.CharField(max_length=64, default="originals")
    original_name = models.CharField(max_length=255, blank=True, db_index=True)
    file_type = models.CharField(max_length=5, choices=FileType, default=FileType.IMAGE)
    format = models.CharField(max_length=16, blank=True, help_text="By the bytes, never the extension.")
    content_type = models.CharField(max_length=64, blank=True)
    bytes = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, db_index=True)
    etag = models.CharField("ETag", max_length=128, blank=True)
    version = models.CharField(max_length=1024, blank=True)
    fingerprint = models.CharField(
        max_length=80, blank=True, editable=False, help_text="Tells these bytes from all others."
    )
    # Set by the doors that take uploads: two uploads of the same bytes at the same moment meet here.
    content_key = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    managed = models.BooleanField(
        default=True, help_text="Ours to delete. Originals registered in place are not."
    )

    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    orientation = models.PositiveSmallIntegerField(default=1)
    mode = models.CharField(max_length=16, blank=True, help_text="Pillow's name of the pixel layout.")
    frames = models.PositiveIntegerField(default=1)
    has_location = models.BooleanField(default=False)
    standard_colour = models.BooleanField(default=True, help_text="8 bit sRGB or grey: read as it is.")
    captured_at = models.DateTimeField(null=True, blank=True)

    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    objects = MediaFileQuerySet.as_manager()

    pending_facts: FileFacts | None = None

    class Meta:
        verbose_name = "media file"
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.original_name or f"file {self.pk}"

    def save(self, **kwargs: Any) -> None:
        """Store a new file, if there is one, and the row; the file it replaces goes after the commit.

        The bytes are stored before the transaction begins, and taken back where the row cannot be
        written. What listens to the save writes in the row's own transaction.

        Raises:
            MediaError: the new file may not be kept; the row and its file are as before.
        """
        if self.file and not cast(OriginalFile, self.file).is_stored:
            self._save_new_file(**kwargs)
            return
        with transaction.atomic():
            super().save(**kwargs)

    save.alters_data = True  # type: ignore[attr-defined]

    def set_facts(self, facts: FileFacts) -> None:
        """Take over what was read of the bytes, and the fingerprint with it."""
        self.file_type, self.format, self.content_type = facts.file_type, facts.format, facts.content_type
        self.bytes, self.sha256, self.fingerprint = facts.bytes, facts.sha256, facts.sha256
        image = facts.image
        self.width = image.width if image else None
        self.height = image.height if image else None
        self.orientation = image.orientation if image else 1
        self.mode = image.mode if image else ""
        self.frames = image.frames if image else 1
        self.has_location = image.has_location if image else False
        self.standard_colour = image.standard_colour if image else True
        self.captured_at = _aware(image.captured_at) if image else None

    set_facts.alters_data = True  # type: ignore[attr-defined]

    # The columns that go with a new file, for saves that name their fields.
    PLACE_FIELDS = ("file", "storage_alias", "original_name", "etag", "version", "managed", "content_key")
    FACT_FIELDS = (
        "file_type", "format", "content_type", "bytes", "sha256", "fingerprint", "width", "height",
        "orientation", "mode", "frames", "has_location", "standard_colour", "captured_at",
    )  # fmt: skip

    @property
    def facts(self) -> ImageFacts | None:
        """The facts of the picture's header; None for a video, or where nothing was read yet."""
        if self.width is None or self.height is None or self.bytes is None:
            return None
        return ImageFacts(
            format=self.format,
            width=self.width,
            height=self.height,
            orientation=self.orientation,
            mode=self.mode,
            frames=self.frames,
            has_location=self.has_location,
            captured_at=self.captured_at,
            standard_colour=self.standard_colour,
            bytes=self.bytes,
        )

    def _save_new_file(self, **kwargs: Any) -> None:
        before = MediaFile.objects.filter(pk=self.pk).first() if self.pk else None
        if before:
            self.content_key = None
            if self.original_name == before.original_name:
                self.original_name = ""  # the new file brings its own
        if (fields := kwargs.get("update_fields")) is not None:
            kwargs["update_fields"] = {*fields, *self.FACT_FIELDS, *self.PLACE_FIELDS}
        self.file.save(str(self.file.name), self.file.file, save=False)
        try:
            with transaction.atomic():
                super().save(**kwargs)
                if before and before.managed:
                    DiscardedFile.discard(before.storage_alias, before.file.name)
        except BaseException:
            self.file.storage.delete(str(self.file.name))
            raise


def _aware(moment: datetime | None) -> datetime | None:
    """A camera that keeps no time zone is taken to stand in ours."""
    if moment is None or not is_naive(moment):
        return moment
    return make_aware(moment, get_default_timezone())
