"""``import_media``: imported files, rejected files, and interruptions."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from functools import partial
from typing import Any

import pytest

from media_files.models import MediaFile
from media_files.tests.commands import run_command
from media_files.tests.fixtures import files_in
from media_files.tests.pictures import SVG, encoded, jpeg, mp4

run = partial(run_command, "import_media")
SMALL = partial(encoded, "PNG", 40, 30)


@pytest.fixture
def photos(tmp_path):
    """Return a typical folder: subfolders, hidden files, a duplicate, a video, and two unsupported files."""
    folder = tmp_path / "photos"
    (folder / "b" / "deep").mkdir(parents=True)
    (folder / ".thumbnails").mkdir()
    (folder / "a.png").write_bytes(SMALL(1))
    (folder / "b" / "deep" / "c.jpg").write_bytes(jpeg(60, 50))
    (folder / "b" / "copy of a.png").write_bytes(SMALL(1))
    (folder / "b" / "clip.mov").write_bytes(mp4())
    (folder / "drawing.jpg").write_bytes(SVG)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / ".hidden.png").write_bytes(SMALL(2))
    (folder / ".thumbnails" / "t.png").write_bytes(SMALL(3))
    return folder


@pytest.mark.django_db
class TestImport:
    @pytest.fixture(autouse=True)
    def _in_folders_of_its_own(self, folders, off):
        pass

    def test_text_output_reports_imported_and_rejected_files(self, photos):
        code, out, _ = run(photos)
        assert code == 1
        first, *rejected = out.splitlines()
        size = sum(row.bytes or 0 for row in MediaFile.objects.all())
        assert first == f"3 imported ({size} B), 1 already in the library, 2 rejected."
        assert [line.partition(": ")[0] for line in rejected] == [
            f"  {photos}/drawing.jpg",
            f"  {photos}/empty.jpg",
        ]
        names = MediaFile.objects.order_by("id").values_list("original_name", flat=True)
        assert list(names) == ["a.png", "clip.mov", "c.jpg"]

    def test_json_has_the_documented_keys(self, photos):
        code, out, err = run(photos, "--json")
        assert (code, err) == (1, "")
        *lines, last = (json.loads(line) for line in out.splitlines())
        by_path = {line["path"].removeprefix(f"{photos}/"): line for line in lines}
        assert all(set(line) == {"path", "sha256", "outcome", "id", "error", "message"} for line in lines)
        assert {path: line["outcome"] for path, line in by_path.items()} == {
            "a.png": "imported",
            "drawing.jpg": "rejected",
            "empty.jpg": "rejected",
            "b/clip.mov": "imported",
            "b/copy of a.png": "duplicate",
            "b/deep/c.jpg": "imported",
        }
        assert by_path["a.png"]["id"] == by_path["b/copy of a.png"]["id"]
        assert (by_path["drawing.jpg"]["error"], by_path["drawing.jpg"]["id"]) == ("unsupported_format", None)
        assert by_path["empty.jpg"]["error"] == "empty"
        for path, line in by_path.items():
            assert line["sha256"] == hashlib.sha256((photos / path).read_bytes()).hexdigest()
        size = sum(row.bytes or 0 for row in MediaFile.objects.all())
        assert last == {"totals": {"imported": 3, "duplicate": 1, "rejected": 2, "bytes_originals": size}}

    def test_a_second_run_imports_nothing(self, photos, folders):
        run(photos)
        before = files_in(folders["originals"])
        *lines, last = run(photos, "--json").lines
        assert {line["outcome"] for line in lines} == {"duplicate", "rejected"}
        assert last["totals"] == {"imported": 0, "duplicate": 4, "rejected": 2, "bytes_originals": 0}
        assert files_in(folders["originals"]) == before

    def test_the_source_folder_stays_unchanged(self, photos):
        before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
        run(photos)
        assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before

    def test_single_files_can_be_imported_even_hidden_ones(self, photos):
        code, out, _ = run(photos / "a.png", photos / ".hidden.png", photos / "b" / "deep")
        assert code == 0
        assert out.startswith("3 imported")

    @pytest.mark.parametrize(("limit", "imported"), [(1, 1), (2, 2), (3, 3), (9, 3)])
    def test_a_limit_counts_only_new_imports(self, photos, limit, imported):
        run(photos, "--limit", limit)
        assert MediaFile.objects.count() == imported

    def test_a_run_with_a_limit_resumes_where_the_last_one_ended(self, photos):
        for expected in (1, 2, 3, 3):
            run(photos, "--limit", 1)
            assert MediaFile.objects.count() == expected

    @pytest.mark.parametrize(
        "arguments",
        [
            (),
            ("/nowhere/at/all",),
            (".", "--limit", "0"),
            (".", "--limit", "-1"),
            (".", "--limit", "x"),
            (".", "--x"),
        ],
        ids=["no path", "missing path", "zero limit", "negative limit", "invalid limit", "unknown option"],
    )
    def test_bad_usage_exits_with_2_and_imports_nothing(self, arguments):
        assert run(*arguments).code == 2
        assert not MediaFile.objects.exists()

    STRANGE = {
        "no valid UTF-8": (b"caf\xe9.png", "caf\ufffd.png", "caf\ufffd.png"),
        "line break": (b"two\nlines.png", "two\nlines.png", "two\nlines.png"),
        "escape sequence": (b"\x1b[31mred.png", "\x1b[31mred.png", "\x1b[31mred.png"),
        "right-to-left": ("a\u202egpj.png".encode(), "a\u202egpj.png", "a\u202egpj.png"),
        "255 bytes": (b"n" * 251 + b".png", "n" * 251 + ".png", "n" * 251 + ".png"),
        "quotes": (b"\"'`$(x).png", "\"'`$(x).png", "\"'`$(x).png"),
    }

    @pytest.mark.parametrize("case", STRANGE)
    def test_any_valid_file_name_can_be_imported(self, tmp_path, case):
        raw, path, name = self.STRANGE[case]
        folder = tmp_path / "strange"
        folder.mkdir()
        with open(os.fsencode(folder) + b"/" + raw, "wb") as file:  # noqa: PTH123 (the name is bytes)
            file.write(SMALL(4))
        line, _ = run(folder, "--json").lines
        assert (line["outcome"], line["path"]) == ("imported", f"{folder}/{path}")
        assert MediaFile.objects.get().original_name == name

    def test_a_file_name_cannot_control_the_terminal(self, tmp_path):
        (tmp_path / "\x1b[2Jx.png").write_bytes(SVG)
        out = run(tmp_path / "\x1b[2Jx.png").out
        assert "\ufffd[2Jx.png" in out
        assert "\x1b" not in out

    @pytest.mark.parametrize("kind", ["a link to nothing", "a pipe", "a link in a circle"])
    def test_a_path_that_is_not_a_file_is_reported_and_does_not_stop_the_run(self, photos, kind):
        odd = photos / "aa-odd"
        if kind == "a pipe":
            os.mkfifo(odd)
        else:
            odd.symlink_to(odd if "circle" in kind else photos / "gone")
        code, out, _ = run(photos)
        assert code == 1
        assert out.startswith("3 imported")
        assert f"  {odd}: " in out

    def test_an_unreadable_folder_is_reported_and_does_not_stop_the_run(self, photos, monkeypatch):
        scandir = os.scandir

        def refuse(path):
            if str(path).endswith("/b"):
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        *lines, last = run(photos, "--json").lines
        (fault,) = [line for line in lines if line["path"] == f"{photos}/b"]
        assert (fault["outcome"], fault["error"]) == ("rejected", "storage")
        assert "Permission denied" in fault["message"]
        assert last["totals"]["imported"] == 1

    def test_a_file_over_the_size_limit_is_rejected(self, photos, settings):
        settings.NOVAPROXY_MAX_UPLOAD = 50
        *lines, _ = run(photos, "--json").lines
        codes = {line["path"].removeprefix(f"{photos}/"): line["error"] for line in lines}
        assert (codes["a.png"], codes["empty.jpg"]) == ("file_too_large", "empty")
        assert not MediaFile.objects.exists()


# -- In separate processes ---------------------------------------------------------------------


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(120):
        (folder / f"{number:03}.png").write_bytes(encoded("PNG", 600, 500, seed=number))
    return folder


def _count(installation) -> int:
    return int(
        installation.shell("from media_files.models import MediaFile; print(MediaFile.objects.count())")
    )


def _first_lines(process, count: int) -> None:
    for _ in range(count):
        assert process.stdout.readline()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "kill -9"])
def test_an_interrupted_run_resumes_when_run_again(installation, many, number):
    process = installation.popen("import_media", many, "--json")
    _first_lines(process, 10)
    os.killpg(process.pid, number)
    process.stdout.read()
    assert process.wait(30) == (130 if number == signal.SIGINT else -number)
    before = _count(installation)
    assert 10 <= before < 120
    again = installation.manage("import_media", many, "--json")
    totals = json.loads(again.stdout.splitlines()[-1])["totals"]
    assert (totals["duplicate"], totals["imported"]) == (before, 120 - before)
    stored = files_in(installation.folder / "media" / "original")
    assert len(stored) - 120 <= (number == signal.SIGKILL)  # the file in progress may have no row


def test_a_closed_output_pipe_ends_the_run_quietly(installation, many):
    process: Any = subprocess.Popen(
        [sys.executable, "manage.py", "import_media", str(many), "--json"],
        env=installation.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    _first_lines(process, 1)
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == ""
    assert process.wait(60) == 130


@pytest.mark.django_db
@pytest.mark.usefixtures("folders", "off")
@pytest.mark.parametrize(("json_lines", "reported"), [(False, True), (True, False)], ids=["text", "--json"])
def test_without_a_terminal_text_output_reports_progress(photos, monkeypatch, json_lines, reported):
    monkeypatch.setattr("media_files.management.commands.import_media._SECONDS_BETWEEN_LINES", 0)
    out = run(photos, *["--json"] * json_lines).out
    assert (f"1 imported so far, at {photos}/a.png" in out) == reported
