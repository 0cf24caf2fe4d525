"""Removal notes: when they are written, settled and resolved."""

from __future__ import annotations

import io
import logging
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from django.core.files.base import ContentFile
from django.core.management import call_command
from django.db import connection, transaction
from django.utils.timezone import now

from media_files.errors import StorageError
from media_files.models import DiscardedFile, MediaFile
from media_files.services import add_file, register_in_place
from media_files.storage.base import media_storage
from media_files.storage.local import LocalStorage
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import encoded, jpeg

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("folders", "off")]


@pytest.fixture
def asked(monkeypatch):
    """Return the names passed to the storage's ``delete``, which fails for those in ``asked.failing``."""

    class Asked(list[str]):
        failing: set[str] = set()

    asked = Asked()
    delete = LocalStorage.delete

    def watched(self, name):
        asked.append(name)
        if name in asked.failing:
            raise StorageError("away")
        delete(self, name)

    monkeypatch.setattr(LocalStorage, "delete", watched)
    return asked


def note(name: str, alias: str = "originals") -> DiscardedFile:
    return DiscardedFile.objects.create(storage_alias=alias, name=name)


def test_the_note_is_written_before_the_file_and_deleted_with_the_rows_commit(monkeypatch):
    noted = []
    put = LocalStorage.put

    def watched(self, name, content, **options):
        noted.append((connection.in_atomic_block, DiscardedFile.objects.get().name == name))
        return put(self, name, content, **options)

    monkeypatch.setattr(LocalStorage, "put", watched)
    add_file(io.BytesIO(jpeg()), "a.jpg")
    assert noted == [(False, True)]
    assert not DiscardedFile.objects.exists()


def test_the_sweeper_skips_a_file_that_is_being_stored(folders):
    name = "original/aa/a.jpg"
    media_storage("originals").put(name, b"half-way to its row")
    DiscardedFile.expect("originals", name)
    assert DiscardedFile.remove_left_over() == 0
    assert files_in(folders["originals"]) == [name]


def test_a_row_whose_file_was_swept_is_not_committed(monkeypatch, folders):
    """The writer was suspended for too long, like on a sleeping laptop."""
    put = LocalStorage.put

    def slow(self, name, content, **options):
        stored = put(self, name, content, **options)
        DiscardedFile.objects.update(due_at=now() - timedelta(seconds=1))
        DiscardedFile.remove_left_over()
        return stored

    monkeypatch.setattr(LocalStorage, "put", slow)
    with pytest.raises(StorageError, match="so long"):
        add_file(io.BytesIO(jpeg()), "a.jpg")
    assert not MediaFile.objects.exists()
    assert files_in(folders["originals"]) == []


@pytest.mark.parametrize("way", ["create", "bulk_create", "replace"])
def test_a_rollback_by_the_caller_leaves_no_orphaned_file(way, folders):
    row = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")[0]
    new = MediaFile(file=ContentFile(encoded("PNG", 20, 10), name="b.png"))
    with transaction.atomic():
        if way == "bulk_create":
            MediaFile.objects.bulk_create([new])
        elif way == "create":
            new.save()
        else:
            row.file.save("b.png", ContentFile(encoded("PNG", 20, 10)))
        transaction.set_rollback(True)
    assert len(files_in(folders["originals"])) == 2
    DiscardedFile.remove_left_over()
    assert files_in(folders["originals"]) == [MediaFile.objects.get().file.name]
    assert not DiscardedFile.objects.exists()


def test_a_commit_by_the_caller_keeps_its_files(folders):
    with transaction.atomic():
        MediaFile.objects.bulk_create([MediaFile(file=ContentFile(jpeg(60, 50), name="a.jpg"))])
    DiscardedFile.remove_left_over()
    assert files_in(folders["originals"]) == [MediaFile.objects.get().file.name]


def test_unresolvable_notes_do_not_block_newer_ones(asked, monkeypatch):
    monkeypatch.setattr("media_files.removal_notes.MOST", 10)
    asked.failing = {f"bad-{number}" for number in range(20)}
    for name in [*sorted(asked.failing), "good-1", "good-2"]:
        note(name)
    for _ in range(4):
        DiscardedFile.remove_left_over()
    assert not DiscardedFile.objects.filter(name__startswith="good").exists()
    assert DiscardedFile.objects.count() == 20


def test_an_unresponsive_storage_is_tried_once_per_sweep_and_does_not_block_others(asked, caplog):
    asked.failing = {f"bad-{number}" for number in range(20)}
    for name in asked.failing:
        note(name)
    note("unknown", alias="gone")
    note("good", alias="proxies")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            asked.clear()
            DiscardedFile.remove_left_over()
            assert len([name for name in asked if name.startswith("bad")]) == 1
    assert not DiscardedFile.objects.filter(name="good").exists()
    reported = [record for record in caplog.records if "yet" in record.getMessage()]
    assert len(reported) <= 2, "logged once per kind"


def test_deleting_many_files_waits_only_once_for_an_unresponsive_storage(asked):
    rows = [add_file(io.BytesIO(jpeg(60, 50, seed=seed)), "a.jpg")[0] for seed in range(5)]
    asked.failing = {str(row.file.name) for row in rows}
    MediaFile.objects.all().delete()
    assert len(asked) == 1
    asked.failing = set()
    assert DiscardedFile.remove_left_over() == 5


def test_concurrent_replacements_leave_no_orphaned_file(folders):
    row = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")[0]
    stored = threading.Barrier(2)

    def replace(seed: int) -> None:
        mine = MediaFile.objects.get(pk=row.pk)
        stored.wait()
        mine.file = ContentFile(jpeg(60, 50, seed=seed), name="b.jpg")
        mine.save()
        connection.close()

    threads = [threading.Thread(target=replace, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert files_in(folders["originals"]) == [MediaFile.objects.get().file.name]
    assert not DiscardedFile.objects.exists()


def test_deleting_an_outdated_row_removes_the_new_file(folders):
    row = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")[0]
    old = MediaFile.objects.get()
    row.file = ContentFile(encoded("PNG", 20, 10), name="b.png")
    row.save()
    old.delete()
    assert files_in(folders["originals"]) == []


class TestFieldSave:
    """``row.file.save(name, content)`` on a row that already has a file."""

    @pytest.fixture
    def row(self):
        row = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")[0]
        row.file.save("b.png", ContentFile(encoded("PNG", 20, 10)))
        return row

    def test_the_old_file_is_removed(self, row, folders):
        assert files_in(folders["originals"]) == [row.file.name]
        row.refresh_from_db()
        assert (row.original_name, row.format, row.content_key) == ("b.png", "PNG", None)

    def test_the_old_bytes_can_be_added_again(self, row):
        again, is_new = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")
        assert is_new
        assert again.pk != row.pk

    def test_without_save_the_old_file_is_kept_until_the_row_is_saved(self, row, folders):
        row.file.save("c.jpg", ContentFile(jpeg(60, 50, seed=3)), save=False)
        assert len(files_in(folders["originals"])) == 2
        row.save()
        assert files_in(folders["originals"]) == [row.file.name]


DAMAGES = {"missing": lambda path: path.unlink(), "cut short": lambda path: path.write_bytes(b"half")}


@pytest.mark.parametrize("damage", DAMAGES)
class TestLostFile:
    """The same bytes are added again while the file of their row is missing or has a different size."""

    @pytest.fixture
    def row(self, damage):
        row = add_file(io.BytesIO(jpeg(60, 50)), "a.jpg")[0]
        DAMAGES[damage](Path(row.file.path))
        return row

    def test_added(self, row, folders):
        again, is_new = add_file(io.BytesIO(jpeg(60, 50)), "b.jpg")
        assert (again.pk, is_new) == (row.pk, False)
        self.assert_back(row, folders)

    def test_imported(self, row, folders, tmp_path):
        path = tmp_path / "b.jpg"
        path.write_bytes(jpeg(60, 50))
        output = io.StringIO()
        call_command("import_media", str(path), "--json", stdout=output)
        assert '"outcome": "duplicate"' in output.getvalue()
        self.assert_back(row, folders)

    def assert_back(self, row, folders):
        row.refresh_from_db()
        assert files_in(folders["originals"]) == [row.file.name]
        assert Path(row.file.path).read_bytes() == jpeg(60, 50)
        assert (row.original_name, row.content_key) == ("a.jpg", row.sha256)


def test_concurrent_registrations_give_one_row(folders, monkeypatch):
    media_storage("originals").put("theirs.jpg", jpeg(60, 50))
    both_looked = threading.Barrier(2)
    stat = LocalStorage.stat

    def look(self, name):
        stored = stat(self, name)
        both_looked.wait()
        return stored

    monkeypatch.setattr(LocalStorage, "stat", look)
    found = []

    def register() -> None:
        found.append(register_in_place("originals", "theirs.jpg").pk)
        connection.close()

    threads = [threading.Thread(target=register) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [MediaFile.objects.get().pk] * 2
