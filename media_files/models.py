"""Originals: what people put in, and the facts that are read of it as it goes by."""

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
    """The storage of new originals: a callable, so that migrations name no place."""
    return field_storage("originals")


def stored_name(instance: MediaFile, filename: str) -> str:
    """A name that was never used before and never will be, so nothing in a storage is overwritten."""
    unique = uuid4().hex
    extension = instance.format.lower() or "bin"
    return f"original/{unique[:2]}/{unique}/{safe_stem(filename)}.{extension}"


class DiscardedFile(RemovalNote):
    """An original's file that no row names: one being stored, or one that a transaction made unused."""

    storage_alias = models.CharField(max_length=64)
    name = models.CharField(max_length=1024)
    created_at = models.DateTimeField(auto_now_add=True)

    # How long storing a file and committing its row may take. A slower writer fails and loses nothing.
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
        """Note a file that is about to be stored. The note is committed before this returns.

        Inside a transaction of the caller it cannot be; the file is noted once that is rolled back.
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
            StorageError: the sweeper has begun to remove the file.
        """
        mine = DiscardedFile.objects.filter(pk=self.pk, tried_at=None)
        if self.pk is not None and not mine.delete()[0]:
            raise StorageError(
                f"Storing {self.name!r} took so long that it was cleaned up as abandoned. Try again."
            )

    def give_up(self) -> None:
        """Remove the file after a failure, unless its row was committed all the same."""
        if self.pk is not None:
            self.remove()

    @classmethod
    def discard(cls, storage_alias: str, name: str | None) -> None:
        """Have the file under ``name`` removed once the current transaction has been committed."""
        if name:
            note = cls.objects.create(storage_alias=storage_alias, name=name)
            removal_notes.remove_after_commit(note, cls.resolve)

    def save_unless_named(self) -> None:
        """Note the file after a transaction that may have been rolled back, row and all."""
        if not self.is_named():
            self.due_at = now()
            self.save(force_insert=True)

    def is_named(self) -> bool:
        """Whether a row names the file. A copied row shares its file."""
        return MediaFile.objects.filter(storage_alias=self.storage_alias, file=self.name).exists()

    def resolve(self) -> bool:
        """Remove the file unless a row names it, then this note; False where its writer is committing.

        Raises:
            MediaError, InvalidStorageError: the storage does not answer, or there is none of that alias.
        """
        if not self.claim():
            return False
        if not self.is_named():
            storages[self.storage_alias].delete(self.name)
        self.delete()
        return True

    def remove(self) -> bool:
        """Resolve the note now, or leave it for the sweeper. False where it is left."""
        return removal_notes.remove(self, DiscardedFile.resolve)

    remove.alters_data = True  # type: ignore[attr-defined]  # Django's marker for templates

    @classmethod
    def remove_left_over(cls) -> int:
        """Resolve the notes that are due, each storage on its own; return how many."""
        transactions.look_back()
        aliases = list(cls.objects.order_by().values_list("storage_alias", flat=True).distinct())
        due = {alias: cls.objects.filter(storage_alias=alias) for alias in aliases}
        return sum(removal_notes.remove_left_over(of_alias, cls.resolve) for of_alias in due.values())


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

        With ``save`` the row is saved with it, and the file that it replaces is removed after the commit.

        Raises:
            MediaError: for what is no picture or video that may be kept; nothing is stored then.
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
        """Delete the rows, locked first: what refers to a file cannot come in while Django looks for it."""
        with transaction.atomic():
            rows = list(self.order_by("pk").select_for_update().values_list("pk", flat=True))
            return models.QuerySet.delete(self.model._base_manager.filter(pk__in=rows))

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


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
    # Set by the doors, so that two uploads of the same bytes at the same moment meet here: the SHA-256 of
    # the bytes, or for an original in place the SHA-256 of where it is stored.
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
    captured_at = models.DateTimeField(null=True, blank=True)

    uploader = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, blank=True, on_delete=models.SET_NULL, related_name="+"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)

    objects = MediaFileQuerySet.as_manager()

    pending_facts: FileFacts | None = None
    # The file's name in the database when this row was read or saved.
    known_name: str | None = None
    # Of a file that was stored for this row and is not in the database's row yet.
    pending_note: DiscardedFile | None = None

    class Meta:
        verbose_name = "media file"
        ordering = ["-id"]

    def __str__(self) -> str:
        return self.original_name or f"file {self.pk}"

    def save(self, **kwargs: Any) -> None:
        """Store a new file, if there is one, and the row; the file it replaces goes after the commit.

        The bytes are stored before the transaction begins, under a name that was noted for removal; the
        note's end is committed with the row. What listens to the save writes in the row's own transaction.

        Raises:
            MediaError: the new file may not be kept; the row and its file are as before.
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
                # Within the transaction, so that of two replacements each removes what it replaced.
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
        """Take over the file and its facts from the database if they were replaced since this row was read.

        A save of the outdated row would name the old file again, which has been removed.
        """
        if self._state.adding or self.known_name is None:
            return
        rows = MediaFile.objects.select_for_update().filter(pk=self.pk)
        if rows.values_list("file", flat=True).first() not in (None, self.known_name):
            self.refresh_from_db(fields=[*self.PLACE_FIELDS, *self.FACT_FIELDS])

    def delete(self, using: str | None = None, keep_parents: bool = False) -> tuple[int, dict[str, int]]:
        """Delete the row and what refers to it, locked first as by `MediaFileQuerySet.delete`."""
        with transaction.atomic():
            MediaFile.objects.select_for_update().filter(pk=self.pk).first()
            return super().delete(using=using, keep_parents=keep_parents)

    delete.alters_data = True  # type: ignore[attr-defined]

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
        self.has_location = image.has_location if image else None
        self.has_metadata = image.has_metadata if image else None
        self.standard_colour = image.standard_colour if image else True
        self.captured_at = _aware(image.captured_at) if image else None

    set_facts.alters_data = True  # type: ignore[attr-defined]

    # The columns that go with a new file, for saves that name their fields.
    PLACE_FIELDS = ("file", "storage_alias", "original_name", "etag", "version", "managed", "content_key")
    FACT_FIELDS = (
        "file_type", "format", "content_type", "bytes", "sha256", "fingerprint", "width", "height",
        "orientation", "mode", "frames", "has_location", "has_metadata", "standard_colour", "captured_at",
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
            has_metadata=self.has_metadata,
            captured_at=self.captured_at,
            standard_colour=self.standard_colour,
            bytes=self.bytes,
        )

    def _store_new_file(self) -> None:
        before = MediaFile.objects.filter(pk=self.pk).first() if self.pk else None
        if before and self.original_name == before.original_name:
            self.original_name = ""  # the new file brings its own
        self.file.save(str(self.file.name), self.file.file, save=False)


def _aware(moment: datetime | None) -> datetime | None:
    """Return a moment that every time zone and database can hold; None where there is no such moment.

    A camera that keeps no time zone is taken to be in ours. Dates such as ``0001:01:01`` or ``9999:12:31``,
    which cameras without a clock write, leave the calendar when they are converted.
    """
    if moment is None:
        return None
    try:
        aware = make_aware(moment, get_default_timezone()) if is_naive(moment) else moment
        # Offsets reach 14 hours: a day more and a day less can be shown anywhere.
        utc = aware.astimezone(UTC)
        _ = utc - _MARGIN, utc + _MARGIN
        return aware
    except (OverflowError, ValueError):
        return None
