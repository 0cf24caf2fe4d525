"""German pages, the API in English for every language, and the check of catalogues."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from django.utils import translation
from django.utils.timezone import now

from analysis.models import Analysis
from analysis.results import Box, Found, Result
from media_files.localised import number
from media_files.models import MediaFile
from media_files.tests.tools import program
from novaproxy_site.tests import translations
from novaproxy_site.tests.admin_pages import text_of
from novaproxy_site.tests.api_client import Api
from novaproxy_site.tests.api_fixtures import START
from proxies.batches import operations
from proxies.models import Batch, BatchItem, Quarantine, WorkerState

GERMAN: Any = {"HTTP_ACCEPT_LANGUAGE": "de-DE,de;q=0.9,en;q=0.5"}


@pytest.fixture(autouse=True)
def _the_language_ends_with_the_test() -> Iterator[None]:
    """Restore the language: the one of a request stays active until the next request."""
    with translation.override(settings.LANGUAGE_CODE):
        yield


# -- Pages -------------------------------------------------------------------------------------


@pytest.fixture
def german(admin_client: Client) -> Client:
    """Return an administrator's client that asks for German pages."""
    admin_client.defaults |= GERMAN
    return admin_client


@pytest.fixture
def rows(batch: Batch, library: dict[str, int], worker: WorkerState, admin_user: Any) -> None:
    """Fill every list of the admin, with a batch that is delayed and has failures."""
    file = MediaFile.objects.get(pk=library["reused"])
    Quarantine.objects.create(source=file, fingerprint=file.fingerprint, message="It took all memory.")
    BatchItem.objects.filter(batch=batch, outcome="").update(
        message="The bucket does not answer.", attempts=2
    )
    box = Box(left=0.1, top=0.1, width=0.5, height=0.5)
    Analysis.objects.create(
        file=file,
        provider="nova",
        model="amazon.nova-2-lite-v1:0",
        request_version="1",
        profile="nova",
        sent="original",
        sha256=file.sha256,
        bytes=1_234_567,
        width=1195,
        height=896,
        source_fingerprint=file.fingerprint,
        status="done",
        result=Result(caption="A tower.", objects=[Found("Tower", 0.9, box)]).as_json(),
        usage={"inputTokens": 1500, "outputTokens": 200},
        cost=Decimal("0.0012"),
        price_date=now().date(),
        latency=1.5,
        is_newest=True,
        finished_at=now(),
    )


def pages() -> list[str]:
    """Return the addresses of all pages of the admin: lists, rows, forms and previews."""
    found = [reverse(f"admin:{name}") for name in ("index", "password_change")]
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        found += [reverse("admin:app_list", args=[model._meta.app_label]), reverse(f"{name}_changelist")]
        found.append(reverse(f"{name}_add"))
        for row in model._default_manager.all():
            found += [reverse(f"{name}_{page}", args=[row.pk]) for page in ("change", "history", "delete")]
    files = MediaFile.objects.values_list("pk", flat=True)
    found += [reverse("admin:media_files_mediafile_forget", args=[pk]) for pk in files]
    found += [reverse("admin:proxies_batch_progress", args=[row.pk]) for row in Batch.objects.all()]
    ids = ",".join(map(str, files))
    for operation in operations.registered():
        page = reverse("admin:media_files_mediafile_operation", args=[operation.name])
        found.append(f"{page}?ids={ids}")
    return list(dict.fromkeys(found))


@pytest.mark.django_db
@pytest.mark.usefixtures("rows")
def test_every_page_of_the_admin_renders_in_german(german: Client) -> None:
    statuses = {page: german.get(page).status_code for page in pages()}
    # Rows that nobody may add or delete by hand have no page for that.
    assert {page: status for page, status in statuses.items() if status not in (200, 403)} == {}
    refused = [page for page, status in statuses.items() if status == 403]
    assert all(page.endswith(("/add/", "/delete/")) for page in refused), refused


@pytest.mark.django_db
@pytest.mark.usefixtures("rows")
def test_confirmations_and_messages_render_in_german(german: Client, library: dict[str, int]) -> None:
    files = reverse("admin:media_files_mediafile_changelist")
    action = {"action": "delete_selected", "_selected_action": list(library.values())}
    assert german.post(files, action).status_code == 200
    upload = {"file": SimpleUploadedFile("notes.txt", b"Not a picture.")}
    refused = text_of(german.post(reverse("admin:media_files_mediafile_add"), upload))
    assert "unsupported_format" in refused
    WorkerState.objects.all().delete()
    assert "manage.py worker" in text_of(german.get(reverse("admin:index")))


@pytest.mark.django_db
@pytest.mark.usefixtures("rows")
def test_numbers_and_dates_of_a_german_page_are_german(german: Client) -> None:
    row = MediaFile.objects.latest("pk")
    row.bytes = 1_234_567
    row.save()
    page = reverse("admin:media_files_mediafile_change", args=[row.pk])
    response = german.get(page)
    assert response.headers["Content-Language"] == "de"
    assert '<html lang="de"' in response.content.decode()
    text = text_of(response)
    assert "1,2 MB" in text
    assert re.search(r"\d{1,2}\. \S+ \d{4}, \d{2}:\d{2} UTC", text)
    assert "1.2 MB" in text_of(german.get(page, HTTP_ACCEPT_LANGUAGE="en"))


def test_a_language_that_is_not_offered_gets_english(admin_client: Client) -> None:
    response = admin_client.get(reverse("admin:index"), HTTP_ACCEPT_LANGUAGE="fr")
    assert response.headers["Content-Language"] == "en-gb"


def test_outside_of_requests_numbers_are_english() -> None:
    assert number(1_234_567) == "1,234,567"


# -- The API -----------------------------------------------------------------------------------

GET = ("", "/files", "/files?format=nonsense", "/proxies", "/batch", "/batch/plan", "/schema", "/nothing")


@pytest.mark.django_db
@pytest.mark.usefixtures("rows")
def test_the_api_ignores_the_language_of_the_request(api: Api, library: dict[str, int]) -> None:
    paths = [f"/api{path}" for path in GET]
    paths += [f"/api/files/{pk}{rest}" for pk in library.values() for rest in ("", "/analyses")]
    for path in paths:
        english, german = api.get(path), api.get(path, **GERMAN)
        assert german.status_code == english.status_code
        # Digits may differ, because some numbers are seconds since an event.
        assert re.sub(r"\d+", "0", german.content.decode()) == re.sub(r"\d+", "0", english.content.decode())


@pytest.mark.django_db
def test_the_errors_of_the_api_ignore_the_language_of_the_request(api: Api) -> None:
    clip = {"content_type": "application/json", "data": "{"}
    requests: list[tuple[Api, str, str, Any]] = [
        (Api(), "GET", "/api/files", {}),
        (api, "PUT", "/api/files", {}),
        (api, "POST", "/api/files", {}),
        (api, "POST", START, clip),
        (api, "POST", START, {"content_type": "application/json", "data": '{"filter": {"page": 1}}'}),
    ]
    for client, method, path, request in requests:
        english = client.generic(method, path, **request)
        german = client.generic(method, path, **request, **GERMAN)
        assert english.status_code >= 400
        assert (german.status_code, german.json()) == (english.status_code, english.json())


# -- The check of catalogues -------------------------------------------------------------------

HEADER = r"""msgid ""
msgstr ""
"Language: de\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\n"
"""
READY = """
#, python-format
msgid "%(name)s is ready."
msgstr "%(name)s ist fertig."
"""
COUNT = """
#, python-format
msgid "%(count)s file"
msgid_plural "%(count)s files"
msgstr[0] "%(count)s Datei"
msgstr[1] "%(count)s Dateien"
"""
OPEN = """
msgctxt "state of a batch"
msgid "open"
msgstr "offen"
"""
HELP = """
msgid "Help"
msgstr "Hilfe"
"""
COMPLETE = HEADER + READY + COUNT + OPEN + HELP
SOURCE = """
_("%(name)s is ready.")
ngettext("%(count)s file", "%(count)s files", count)
pgettext("state of a batch", "open")
"""
IGNORED = '_("Not for people.")'


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a small project with a complete catalogue."""
    for name in translations.PROGRAMS:
        program(name)
    files = {
        "proxies/words.py": SOURCE,
        "proxies/tests/words.py": IGNORED,
        "benchmarks/words.py": IGNORED,
        "templates/proxies/page.html": '{% load i18n %}{% translate "Help" %}',
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    fill(tmp_path, COMPLETE)
    return tmp_path


def fill(project: Path, catalogue: str) -> Path:
    """Replace the German catalogue and compile it, if that is possible."""
    path = project / translations.catalogue_of("de")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(catalogue)
    translations.compile_catalogue(project, "de", path.with_suffix(".mo"))
    return path


def found(project: Path) -> list[str]:
    return translations.problems(project, ["en-gb", "de"])


def test_a_complete_catalogue_has_no_problems(project: Path) -> None:
    assert found(project) == []


@pytest.mark.parametrize(
    ("catalogue", "problem"),
    [
        (HEADER + READY + COUNT + OPEN, 'lacks "Help". Run `make messages`.'),
        (COMPLETE.replace('msgctxt "state of a batch"\n', ""), 'lacks "open".'),
        (COMPLETE.replace(COUNT, COUNT.replace("s files", "s folders")), 'lacks "%(count)s file".'),
        (f'{COMPLETE}\nmsgid "Gone"\nmsgstr "Weg"\n', 'has "Gone", which no source contains any more.'),
        (COMPLETE.replace("Hilfe", ""), '"Help" is not translated.'),
        (COMPLETE.replace("%(count)s Dateien", ""), '"%(count)s file" is not translated.'),
        (COMPLETE.replace('msgid "Help"', '#, fuzzy\nmsgid "Help"'), '"Help" is marked fuzzy.'),
        (f"#, fuzzy\n{COMPLETE}", "the header is marked fuzzy."),
        (COMPLETE.replace("%(name)s ist", "%(nam)s ist"), "a format specification for argument 'nam'"),
        (f"<<<<<<< HEAD\n{COMPLETE}", "django.po:1: "),
        (COMPLETE.replace("%(name)s ist", "Es ist"), "a format specification for argument 'name'"),
    ],
    ids=[
        "new text", "other context", "other plural", "obsolete", "untranslated", "untranslated plural",
        "fuzzy", "fuzzy header", "misspelt placeholder", "conflict", "missing placeholder",
    ],
)  # fmt: skip
def test_faults_of_a_catalogue_are_reported(project: Path, catalogue: str, problem: str) -> None:
    fill(project, catalogue)
    assert any(problem in line for line in found(project)), found(project)


def test_an_outdated_compilation_is_reported(project: Path) -> None:
    path = fill(project, COMPLETE.replace("Hilfe", "Beistand"))
    path.write_text(COMPLETE)
    (line,) = found(project)
    assert (
        line == "locale/de/LC_MESSAGES/django.mo is not compiled from today's django.po. Run `make messages`."
    )
    path.with_suffix(".mo").unlink()
    assert found(project) == [line]


def test_a_language_without_a_catalogue_is_reported(project: Path) -> None:
    (line,) = translations.problems(project, ["en-gb", "de", "pt-br"])
    assert line.startswith("locale/pt_BR/LC_MESSAGES/django.po is missing, but LANGUAGES offers 'pt-br'.")


def test_writing_keeps_translations_and_marks_what_to_do(project: Path) -> None:
    fill(project, HEADER + READY + '\nmsgid "Gone"\nmsgstr "Weg"\n')
    for language in ("de", "fr"):
        translations.write(project, language)
    text = (project / translations.catalogue_of("de")).read_text()
    assert READY in text
    assert "Gone" not in text
    assert "Not for people" not in text
    lines = translations.problems(project, ["de", "fr"])
    assert 'locale/de/LC_MESSAGES/django.po: "Help" is not translated.' in lines
    assert len(lines) == 3 + 4
    before = text, (project / translations.catalogue_of("fr")).read_text()
    for language in ("de", "fr"):
        translations.write(project, language)
    assert before == (text, (project / translations.catalogue_of("fr")).read_text())


def test_the_check_fails_without_gettext(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert translations.main([]) == 1
    output = capsys.readouterr().out
    assert output.startswith("Translations cannot be checked without xgettext, ")
    assert "apt-get install gettext" in output


def test_every_language_has_formats() -> None:
    """Without a module of ours, a language would show dates in Django's own, longer form."""
    folder = translations.ROOT / "novaproxy_site" / "formats"
    for language in translations.LANGUAGES:
        assert (folder / language.partition("-")[0] / "formats.py").exists(), language
