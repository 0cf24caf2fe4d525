"""Originals: their facts, and their files when rows are saved, replaced and deleted."""

from __future__ import annotations

import hashlib
import io

import pytest
from django.core.files.base import ContentFile
from django.db import IntegrityError, transaction

from media_files.errors import (
    CorruptImage,
    EmptyFile,
    MediaError,
    SourceMissing,
    StorageError,
    UnsupportedFormat,
)
from media_files.models import DiscardedFile, MediaFile
from media_files.services import add_file, register_in_place
from media_files.storage.local import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import PDF, encoded, jpeg, mp4, turned_jpeg

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("folders", "off")]


def saved(data: bytes, name: str = "a.jpg", **values) -> MediaFile:
    row = MediaFile(file=ContentFile(data, name=name), **values)
    row.save()
    return row


def created(data: bytes) -> MediaFile:
    return MediaFile.objects.create(file=ContentFile(data, name="a.jpg"))


def field_saved(data: bytes) -> MediaFile:
    row = MediaFile()
    row.file.save("a.jpg", ContentFile(data))
    return row


def bulk_created(data: bytes) -> MediaFile:
    return MediaFile.objects.bulk_create([MediaFile(file=ContentFile(data, name="a.jpg"))])[0]


def added(data: bytes) -> MediaFile:
    return add_file(io.BytesIO(data), "a.jpg")[0]


@pytest.mark.parametrize("way", [saved, created, field_saved, bulk_created, added])
def test_facts_are_read_however_a_row_is_created(way, folders):
    data = turned_jpeg()
    row = MediaFile.objects.get(pk=way(data).pk)
    assert (row.file_type, row.format, row.content_type) == ("image", "JPEG", "image/jpeg")
    assert (row.width, row.height, row.orientation) == (200, 300, 6)
    assert (row.bytes, row.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert row.fingerprint == row.sha256
    assert row.original_name == "a.jpg"
    assert row.facts is not None
    assert row.facts.orientation == 6
    (stored,) = files_in(folders["originals"])
    assert stored == row.file.name
    assert (folders["originals"] / stored).read_bytes() == data


@pytest.mark.parametrize("way", [saved, created, field_saved, bulk_created, added])
@pytest.mark.parametrize(
    ("data", "error"),
    [(PDF, UnsupportedFormat), (b"", EmptyFile), (jpeg()[:60], CorruptImage)],
    ids=["PDF", "empty", "truncated header"],
)
def test_a_rejected_file_leaves_no_row_and_no_file(way, data, error, folders):
    with pytest.raises(error), transaction.atomic():
        way(data)
    assert not MediaFile.objects.exists()
    assert files_in(folders["originals"]) == []


def test_the_format_is_detected_from_the_bytes(folders):
    row = saved(encoded("PNG", 20, 10), "photo.jpg")
    assert (row.format, row.content_type) == ("PNG", "image/png")
    assert str(row.file.name).endswith("/photo.png")


def test_a_video_has_no_size():
    row = saved(mp4(), "clip.mov")
    assert (row.file_type, row.width, row.facts) == ("video", None, None)


@pytest.mark.parametrize(
    "fields", [None, ["file"], ["file", "uploader"]], ids=["all", "file", "file and another"]
)
class TestReplace:
    """The file of a row is replaced."""

    @pytest.fixture
    def row(self):
        return saved(jpeg(seed=1), "first.jpg")

    @pytest.fixture
    def save(self, fields):
        def replace(row, data=None):
            row.file = ContentFile(data or encoded("PNG", 50, 40), name="second.png")
            row.save(**({} if fields is None else {"update_fields": fields}))

        return replace

    def test_the_facts_are_those_of_the_new_bytes(self, row, save):
        before = row.fingerprint
        save(row)
        row.refresh_from_db()
        assert (row.format, row.width, row.height, row.original_name) == ("PNG", 50, 40, "second.png")
        assert row.fingerprint == hashlib.sha256(encoded("PNG", 50, 40)).hexdigest() != before

    def test_the_old_file_is_deleted_after_the_commit(
        self, row, save, folders, django_capture_on_commit_callbacks
    ):
        old = row.file.name
        with django_capture_on_commit_callbacks() as callbacks:
            save(row)
        assert set(files_in(folders["originals"])) == {old, row.file.name}
        assert DiscardedFile.objects.get().name == old
        for callback in callbacks:
            callback()
        assert files_in(folders["originals"]) == [row.file.name]
        assert not DiscardedFile.objects.exists()

    def test_a_rollback_keeps_the_old_file_and_its_row(self, row, save, folders):
        old = row.file.name
        with transaction.atomic():
            save(row)
            transaction.set_rollback(True)
        again = MediaFile.objects.get()
        assert (again.file.name, again.format) == (old, "JPEG")
        assert old in files_in(folders["originals"])
        assert not DiscardedFile.objects.exists()

    def test_a_rejected_file_changes_nothing(self, row, save, folders):
        old = row.file.name
        with pytest.raises(MediaError):
            save(row, PDF)
        assert MediaFile.objects.get().file.name == old
        assert files_in(folders["originals"]) == [old]

    def test_a_failed_save_of_the_row_removes_its_new_file(self, row, save, folders, monkeypatch):
        old = row.file.name

        def refuse(*args, **kwargs):
            raise IntegrityError("refused")

        monkeypatch.setattr("django.db.models.Model.save", refuse)
        with pytest.raises(IntegrityError):
            save(row)
        assert files_in(folders["originals"]) == [old]

    def test_an_unmanaged_original_stays_in_place(self, save, folders, django_capture_on_commit_callbacks):
        place = folders["originals"] / "theirs" / "a.jpg"
        place.parent.mkdir(parents=True)
        place.write_bytes(jpeg())
        row = register_in_place("originals", "theirs/a.jpg")
        with django_capture_on_commit_callbacks(execute=True):
            save(row)
        assert place.read_bytes() == jpeg()
        row.refresh_from_db()
        assert row.managed


def test_saving_other_columns_does_not_read_the_file(folders):
    row = saved(jpeg())
    (folders["originals"] / row.file.name).unlink()
    row.original_name = "renamed.jpg"
    row.save()
    MediaFile.objects.get().save(update_fields=["original_name"])
    assert MediaFile.objects.get().original_name == "renamed.jpg"


class TestDelete:
    def test_the_file_is_deleted_only_after_the_commit(self, folders, django_capture_on_commit_callbacks):
        row = saved(jpeg())
        with django_capture_on_commit_callbacks() as callbacks:
            row.delete()
        assert len(files_in(folders["originals"])) == 1
        for callback in callbacks:
            callback()
        assert files_in(folders["originals"]) == []

    def test_a_rollback_keeps_the_file(self, folders):
        row = saved(jpeg())
        with transaction.atomic():
            row.delete()
            transaction.set_rollback(True)
        assert files_in(folders["originals"]) == [MediaFile.objects.get().file.name]

    def test_a_queryset_delete_removes_all_files(self, folders, django_capture_on_commit_callbacks):
        for seed in range(3):
            saved(jpeg(60, 50, seed=seed))
        with django_capture_on_commit_callbacks(execute=True):
            MediaFile.objects.all().delete()
        assert files_in(folders["originals"]) == []

    def test_a_file_used_by_another_row_is_kept(self, folders, django_capture_on_commit_callbacks):
        row = saved(jpeg())
        copy = MediaFile.objects.get()
        copy.pk = None
        copy.save()
        with django_capture_on_commit_callbacks(execute=True):
            row.delete()
        assert files_in(folders["originals"]) == [copy.file.name]

    def test_an_unmanaged_file_is_kept(self, folders, django_capture_on_commit_callbacks):
        place = folders["originals"] / "theirs.jpg"
        place.parent.mkdir(parents=True)
        place.write_bytes(jpeg())
        row = register_in_place("originals", "theirs.jpg")
        with django_capture_on_commit_callbacks(execute=True):
            row.delete()
        assert place.exists()

    def test_an_unresponsive_storage_leaves_a_note_for_the_sweeper(
        self, folders, monkeypatch, django_capture_on_commit_callbacks
    ):
        row = saved(jpeg())
        delete = LocalStorage.delete

        def away(self, name):
            raise StorageError("away")

        monkeypatch.setattr(LocalStorage, "delete", away)
        with django_capture_on_commit_callbacks(execute=True):
            row.delete()
        assert DiscardedFile.objects.count() == 1
        monkeypatch.setattr(LocalStorage, "delete", delete)
        assert DiscardedFile.objects.get().remove()
        assert files_in(folders["originals"]) == []


class TestRegisterInPlace:
    @pytest.fixture
    def place(self, folders):
        place = folders["originals"] / "archive" / "küste.jpg"
        place.parent.mkdir(parents=True)
        place.write_bytes(jpeg())
        return place

    def test_the_row_is_created_without_reading_the_file(self, place):
        row = register_in_place("originals", "archive/küste.jpg")
        assert (row.original_name, row.managed, row.bytes) == ("küste.jpg", False, len(jpeg()))
        assert (row.width, row.sha256, row.facts) == (None, "", None)
        assert row.fingerprint.startswith("place:")

    def test_registering_again_returns_the_same_row(self, place):
        first = register_in_place("originals", "archive/küste.jpg")
        assert register_in_place("originals", "archive/küste.jpg").pk == first.pk

    def test_a_different_file_with_the_same_name_has_a_different_fingerprint(self, place):
        first = register_in_place("originals", "archive/küste.jpg")
        place.write_bytes(jpeg(seed=2) + b"longer")
        again = register_in_place("originals", "archive/küste.jpg")
        assert again.pk == first.pk
        assert again.fingerprint != first.fingerprint

    def test_a_missing_file_is_reported(self, place):
        with pytest.raises(SourceMissing):
            register_in_place("originals", "archive/nothing.jpg")


def test_simultaneous_uploads_of_the_same_bytes_give_one_row(folders, monkeypatch):
    """The second upload checks for duplicates before the first one has written its row."""
    first, _ = add_file(io.BytesIO(jpeg()), "a.jpg")
    answers = iter([None, first])
    monkeypatch.setattr("media_files.services.find_same", lambda facts: next(answers))
    again, is_new = add_file(io.BytesIO(jpeg()), "b.jpg")
    assert (again.pk, is_new) == (first.pk, False)
    assert files_in(folders["originals"]) == [first.file.name]


def test_saving_an_outdated_row_does_not_undo_a_replacement(folders):
    row = saved(jpeg(seed=1))
    outdated = MediaFile.objects.get(pk=row.pk)
    outdated.uploader = None
    new = jpeg(seed=2)
    row.file = ContentFile(new, name="new.jpg")
    row.save()
    outdated.save()
    today = MediaFile.objects.get(pk=row.pk)
    assert today.sha256 == outdated.sha256 == hashlib.sha256(new).hexdigest()
    with today.file.open() as stream:
        assert stream.read() == new
    outdated.save()
    row.save()
    assert MediaFile.objects.get(pk=row.pk).file.name == today.file.name
