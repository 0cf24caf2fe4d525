"""Originals: the media files and the facts read from their bytes when they are stored."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO, ClassVar, Final, cast
from uuid import uuid4

from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import storages
from django.db import models, transaction
from django.db.models.fields.files import FieldFile
from django.utils.timezone import get_default_timezone, is_naive, make_aware, now
from django.utils.translation import gettext_lazy as _

from media_files import removal_notes, transactions
from media_files.conf import limits
from media_files.errors import StorageError
from media_files.facts import FileFacts, read_facts
from media_files.imaging.inspection import ImageFacts
from media_files.names import readable_name, safe_stem
from media_files.removal_notes import RemovalNote
from media_files.storage.base import MediaStorage, field_storage

_MARGIN: Final = timedelta(days=1)


def originals_storage() -> MediaStorage:
    """Return the storage for new originals. A callable, so that migrations contain no location."""
    return field_storage("originals")


def stored_name(instance: MediaFile, filename: str) -> str:
    """Return a unique name that is never reused, so that nothing in a storage is overwritten."""
    unique = uuid4().hex
    extension = instance.format.lower() or "bin"
    return f"original/{unique[:2]}/{unique}/{safe_stem(filename)}.{extension}"


class DiscardedFile(RemovalNote):
    """An original's file without a row: it is still being stored, or a transaction made it unused."""

    storage_alias = models.CharField(max_length=64)
    name = models.CharField(max_length=1024)
    created_at = models.DateTimeField(auto_now_add=True)

    # The time to store a file and commit its row. A slower writer fails, without any data loss.
    TIME_TO_STORE: ClassVar = timedelta(hours=6)

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["storage_alias", "tried_at", "id"], name="discarded_file_turn"),
        ]

    def __str__(self) -> str:
        return f"{self.storage_alias}: {self.name}"

    @classmethod
    def expect(cls, storage_alias: str, name: str) -> DiscardedFile:
        """Write a note for a file that is about to be stored. It is committed before this returns.

        That is impossible inside the caller's transaction. The note is then written after a rollback.
        """
        note = cls(storage_alias=storage_alias, name=name, due_at=now() + cls.TIME_TO_STORE)
        if transactions.in_transaction():
            transactions.after_the_end(note.save_unless_named)
        else:
            transactions.look_back()
            note.save(force_insert=True)
        return note

    def settle(self) -> None:
        """Delete the note in the transaction that writes the file's row.

        Raises:
            StorageError: the sweeper has started to remove the file.
        """
        mine = DiscardedFile.objects.filter(pk=self.pk, tried_at=None)
        if self.pk is not None and not mine.delete()[0]:
            raise StorageError(
                f"Storing {self.name!r} took so long that it was cleaned up as abandoned. Try again."
            )

    def give_up(self) -> None:
        """Remove the file after a failure, unless its row was committed anyway."""
        if self.pk is not None:
            self.remove()

    @classmethod
    def discard(cls, storage_alias: str, name: str | None) -> None:
        """Schedule the removal of the file after the current transaction commits."""
        if name:
            note = cls.objects.create(storage_alias=storage_alias, name=name)
            removal_notes.remove_after_commit(note, cls.resolve)

    def save_unless_named(self) -> None:
        """Write the note unless a row refers to the file, after a transaction that may have rolled back."""
        if not self.is_named():
            self.due_at = now()
            self.save(force_insert=True)

    def is_named(self) -> bool:
        """Return whether a row refers to the file. A copied row shares its file."""
        return MediaFile.objects.filter(storage_alias=self.storage_alias, file=self.name).exists()

    def resolve(self) -> bool:
        """Delete the note, and its file unless a row refers to it. Return False if its writer is committing.

        Raises:
            MediaError, InvalidStorageError: the storage does not answer, or the alias does not exist.
        """
        if not self.claim():
            return False
        if not self.is_named():
            storages[self.storage_alias].delete(self.name)
        self.delete()
        return True

    def remove(self) -> bool:
        """Resolve the note now. On failure leave it for the sweeper and return False."""
        return removal_notes.remove(self, DiscardedFile.resolve)

    remove.alters_data = True  # type: ignore[attr-defined]  # Django's marker for templates

    @classmethod
    def remove_left_over(cls) -> int:
        """Resolve the due notes of each storage separately, and return how many were resolved."""
        transactions.look_back()
        aliases = list(cls.objects.order_by().values_list("storage_alias", flat=True).distinct())
        due = {alias: cls.objects.filter(storage_alias=alias) for alias in aliases}
        return sum(removal_notes.remove_left_over(of_alias, cls.resolve) for of_alias in due.values())


class OriginalFile(FieldFile):
    """The file of a row, in the storage recorded in the row."""

    instance: MediaFile

    def __init__(self, instance: MediaFile, field: models.FileField, name: str | None) -> None:
        super().__init__(instance, field, name)
        if instance.storage_alias:
            self.storage = storages[instance.storage_alias]

    @property
    def is_stored(self) -> bool:
        """Whether the file is stored; False for one that has only been assigned."""
        return bool(self._committed)

    def save(self, name: str | None, content: File[Any], save: bool = True) -> None:
        """Read the facts of ``content`` and store it under a new name.

        With ``save``, also save the row, and remove the replaced file after the commit.

        Raises:
            MediaError: ``content`` is not an acceptable picture or video. Nothing is stored.
        """
        instance = self.instance
        if save:
            setattr(instance, self.field.name, File(content.file, name=name or content.name))
            instance.save()
            stored = cast(OriginalFile, instance.file)
            self.name, self.storage, self._committed = stored.name, stored.storage, True
            return
        stream = cast(BinaryIO, content.file)
        facts = instance.pending_facts or read_facts(stream, limits())
        instance.pending_facts = None
        instance.original_name = readable_name(instance.original_name or name or "")
        instance.set_facts(facts)
        if instance.content_key != facts.sha256:
            instance.content_key = None
        new_name = self.field.generate_filename(instance, instance.original_name)
        instance.pending_note = note = DiscardedFile.expect("originals", new_name)
        try:
            self._store(new_name, stream, facts.content_type)
        except BaseException:
            instance.pending_note = None
            note.give_up()
            raise

    save.alters_data = True  # type: ignore[attr-defined]  # Django's marker for templates

    def _store(self, name: str, stream: BinaryIO, content_type: str) -> None:
        instance = self.instance
        self.storage = storage = originals_storage()
        stream.seek(0)
        stored = storage.put(name, stream, content_type=content_type)
        instance.storage_alias, instance.managed = "originals", True
        instance.etag, instance.version = stored.etag, stored.version
        self.name = stored.name
        setattr(instance, self.field.attname, self.name)
        self._committed = True


class OriginalField(models.FileField):
    attr_class = OriginalFile


class MediaFileQuerySet(models.QuerySet["MediaFile"]):
    def images(self) -> MediaFileQuerySet:
        return self.filter(file_type=MediaFile.FileType.IMAGE)

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete the rows, locked first so that no reference is added while Django collects them."""
        with transaction.atomic():
            rows = list(self.order_by("pk").select_for_update().values_list("pk", flat=True))
            return models.QuerySet.delete(self.model._base_manager.filter(pk__in=rows))

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class MediaFile(models.Model):
    """An original and its facts.

    Width and height are those of the upright picture, in pixels; ``orientation`` is the EXIF value (1 to 8)
    by which the stored picture must be rotated. A row created from a name alone, such as an original
    registered in place, has no facts until its first full read; until then ``width`` is None.
    """

    class FileType(models.TextChoices):
        IMAGE = "image", _("Image")
        VIDEO = "video", _("Video")

    file = OriginalField(upload_to=stored_name, storage=originals_storage, max_length=1024, db_index=True)
    storage_alias = models.CharField(max_length=64, default="originals")
    original_name = models.CharField(max_length=255, blank=True, db_index=True)
    file_type = models.CharField(_("file type"), max_length=5, choices=FileType, default=FileType.IMAGE)
    format = models.CharField(max_length=16, blank=True, help_text="By the bytes, never the extension.")
    content_type = models.CharField(max_length=64, blank=True)
    bytes = models.BigIntegerField(null=True, blank=True)
    sha256 = models.CharField("SHA-256", max_length=64, blank=True, db_index=True)
    etag = models.CharField("ETag", max_length=128, blank=True)
    version = models.CharField(max_length=1024, blank=True)
    fingerprint = models.CharField(
        max_length=80, blank=True, editable=False, help_text="Identifies the bytes of the file."
    )
    # Set by upload, import and registration, so that this constraint catches simultaneous uploads of the same
    # bytes: the SHA-256 of the bytes, or of the location for an original registered in place.
    content_key = models.CharField(max_length=64, unique=True, null=True, editable=False)  # noqa: DJ001
    managed = models.BooleanField(
        default=True, help_text="Ours to delete. Originals registered in place are not."
    )

    width = models.PositiveIntegerField(null=True, blank=True)
    height = models.PositiveIntegerField(null=True, blank=True)
    orientation = models.PositiveSmallIntegerField(default=1)
    mode = models.CharField(max_length=16, blank=True, help_text="Pillow's name of the pixel layout.")
    frames = models.PositiveIntegerField(default=1)
    has_location = models.BooleanField(null=True, help_text="Empty: something in it could not be read.")
    has_metadata = models.BooleanField(
        null=True, help_text="Anything beside pixels and colour. Empty: not looked at to the last byte."
    )
    standard_colour = models.BooleanField(default=True, help_text="8 bit sRGB or grey: read as it is.")
    captured_at = models.DateTimeField(_("captured at"), null=True, blank=True)

    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("uploader"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    updated_at = models.DateTimeField(_("updated at"), auto_now=True, db_index=True)

    objects = MediaFileQuerySet.as_manager()

    pending_facts: FileFacts | None = None
    # The name of the file in the database when this row was read or saved.
    known_name: str | None = None
    # The note for a file that is stored for this row but not yet recorded in the database.
    pending_note: DiscardedFile | None = None

    class Meta:
        verbose_name = _("media file")
        verbose_name_plural = _("media files")
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.original_name or f"file {self.pk}"

    def save(self, **kwargs: Any) -> None:
        """Store a new file, if any, and save the row. Delete the replaced file after the commit.

        The bytes are stored before the transaction begins, under a name with a removal note; that note is
        deleted in the row's transaction. Receivers of the save signals write in the row's transaction too.

        Raises:
            MediaError: the new file is not acceptable; the row and its file are unchanged.
        """
        if self.file and not cast(OriginalFile, self.file).is_stored:
            self._store_new_file()
        note, self.pending_note = self.pending_note, None
        if note is None:
            with transaction.atomic():
                if kwargs.get("update_fields") is None:
                    self._keep_replaced_file()
                super().save(**kwargs)
            self.known_name = self.file.name
            return
        if (fields := kwargs.get("update_fields")) is not None:
            kwargs["update_fields"] = {*fields, *self.FACT_FIELDS, *self.PLACE_FIELDS}
        try:
            with transaction.atomic():
                # In the transaction, so that each of two concurrent replacements removes what it replaced.
                before = MediaFile.objects.select_for_update().filter(pk=self.pk).first() if self.pk else None
                super().save(**kwargs)
                note.settle()
                if before and before.managed:
                    DiscardedFile.discard(before.storage_alias, before.file.name)
        except BaseException:
            note.give_up()
            raise
        self.known_name = self.file.name

    save.alters_data = True  # type: ignore[attr-defined]

    @classmethod
    def from_db(
        cls, db: str | None, field_names: Collection[str], values: Collection[Any], **options: Any
    ) -> MediaFile:
        row = super().from_db(db, field_names, values, **options)
        row.known_name = row.__dict__.get("file")
        return row

    def _keep_replaced_file(self) -> None:
        """Reload the file and its facts from the database if they were replaced since this row was read.

        Saving the outdated row would point to the old file again, which has been removed.
        """
        if self._state.adding or self.known_name is None:
            return
        rows = MediaFile.objects.select_for_update().filter(pk=self.pk)
        if rows.values_list("file", flat=True).first() not in (None, self.known_name):
            self.refresh_from_db(fields=[*self.PLACE_FIELDS, *self.FACT_FIELDS])

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the row and what refers to it, locked first like in `MediaFileQuerySet.delete`."""
        with transaction.atomic():
            MediaFile.objects.select_for_update().filter(pk=self.pk).first()
            return super().delete(using=using, keep_parents=keep_parents)

    delete.alters_data = True  # type: ignore[attr-defined]

    def set_facts(self, facts: FileFacts) -> None:
        """Copy the facts read from the bytes, and set the fingerprint."""
        self.file_type, self.format, self.content_type = facts.file_type, facts.format, facts.content_type
        self.bytes, self.sha256, self.fingerprint = facts.bytes, facts.sha256, facts.sha256
        image = facts.image
        self.width = image.width if image else None
        self.height = image.height if image else None
        self.orientation = image.orientation if image else 1
        self.mode = image.mode if image else ""
        self.frames = image.frames if image else 1
        self.has_location = image.has_location if image else None
        self.has_metadata = image.has_metadata if image else None
        self.standard_colour = image.standard_colour if image else True
        self.captured_at = _aware(image.captured_at) if image else None

    set_facts.alters_data = True  # type: ignore[attr-defined]

    # The columns that change with a new file, for saves with `update_fields`.
    PLACE_FIELDS = ("file", "storage_alias", "original_name", "etag", "version", "managed", "content_key")
    FACT_FIELDS = (
        "file_type", "format", "content_type", "bytes", "sha256", "fingerprint", "width", "height",
        "orientation", "mode", "frames", "has_location", "has_metadata", "standard_colour", "captured_at",
    )  # fmt: skip

    @property
    def facts(self) -> ImageFacts | None:
        """The facts from the picture's header; None for a video, or if nothing has been read yet."""
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
            has_metadata=self.has_metadata,
            captured_at=self.captured_at,
            standard_colour=self.standard_colour,
            bytes=self.bytes,
        )

    def _store_new_file(self) -> None:
        before = MediaFile.objects.filter(pk=self.pk).first() if self.pk else None
        if before and self.original_name == before.original_name:
            self.original_name = ""  # the new file's name replaces it
        self.file.save(str(self.file.name), self.file.file, save=False)


def _aware(moment: datetime | None) -> datetime | None:
    """Return the moment as aware, or None if some time zone or database cannot represent it.

    A camera without a time zone is assumed to be in ours. Dates such as ``0001:01:01`` or ``9999:12:31``,
    which cameras without a clock write, overflow the calendar when converted.
    """
    if moment is None:
        return None
    try:
        aware = make_aware(moment, get_default_timezone()) if is_naive(moment) else moment
        # Offsets reach 14 hours, so a margin of a day is enough for every time zone.
        utc = aware.astimezone(UTC)
        _ = utc - _MARGIN, utc + _MARGIN
        return aware
    except (OverflowError, ValueError):
        return None
