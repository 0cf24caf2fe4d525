"""Check that the catalogue of each language translates exactly the texts of today's sources.

Run as ``python -m novaproxy_site.tests.translations`` (part of ``make lint``); ``--write`` first updates the
catalogues from the sources and compiles them (``make messages``).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po
from django.utils.translation import to_locale

from novaproxy_site import settings

ROOT: Final = Path(__file__).parents[2]
SOURCES: Final = ("novaproxy_site", "media_files", "proxies", "analysis", "templates")
LANGUAGES: Final = [code for code, _ in settings.LANGUAGES]
SOURCE_LANGUAGE: Final = "en"
PROGRAMS: Final = ("xgettext", "msguniq", "msgmerge", "msgattrib", "msgfmt", "msgunfmt")

_OPTIONS: Final = ("--no-location", "--no-wrap", "--no-obsolete", "--verbosity=0")
_IGNORED: Final = shutil.ignore_patterns("tests", "migrations", "static", "__pycache__")
# A date would change with every run. A new catalogue's header is marked fuzzy, and so would not be compiled.
_DATE: Final = re.compile(r'^"POT-Creation-Date: .*\n', re.MULTILINE)
_FUZZY_HEADER: Final = re.compile(r'^#, fuzzy\n(?=msgid ""\nmsgstr ""\n)', re.MULTILINE)


def catalogue_of(language: str) -> Path:
    """Return the path of a language's catalogue below the project's folder, such as ``locale/de/...``."""
    return Path("locale", to_locale(language), "LC_MESSAGES", "django.po")


def translated(languages: Iterable[str]) -> list[str]:
    """Return the languages that need a catalogue: all but that of the sources."""
    return [each for each in languages if each.partition("-")[0] != SOURCE_LANGUAGE]


def missing_programs() -> list[str]:
    """Return what to install, if anything."""
    missing = ", ".join(name for name in PROGRAMS if shutil.which(name) is None)
    advice = "Install GNU gettext: `apt-get install gettext` or `brew install gettext`."
    return [f"Translations cannot be checked without {missing}. {advice}"] if missing else []


def extract(root: Path, language: str) -> str:
    """Return a language's catalogue, updated from the sources in ``root``. Nothing in ``root`` changes."""
    path = catalogue_of(language)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in SOURCES:
            if (root / name).is_dir():
                shutil.copytree(root / name, copy / name, ignore=_IGNORED)
        (copy / path).parent.mkdir(parents=True)
        if (root / path).exists():
            shutil.copy(root / path, copy / path)
        environment = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        subprocess.run(
            [sys.executable, "-m", "django", "makemessages", "--locale", to_locale(language), *_OPTIONS],
            cwd=copy,
            env=environment,
            check=True,
        )
        text = (copy / path).read_text("utf-8")
    return _FUZZY_HEADER.sub("", _DATE.sub("", text))


def compile_catalogue(root: Path, language: str, target: Path) -> list[str]:
    """Compile a language's catalogue to ``target``, or return its faults: syntax, placeholders."""
    done = subprocess.run(
        ["msgfmt", "--check-format", f"--output-file={target}", str(catalogue_of(language))],
        cwd=root,
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.splitlines() if done.returncode else []


def write(root: Path, language: str) -> None:
    """Update a language's catalogue from the sources and compile it, unless it has faults now."""
    path = root / catalogue_of(language)
    compiled = path.with_suffix(".mo").absolute()
    if path.exists() and compile_catalogue(root, language, compiled):
        return
    text = extract(root, language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    compile_catalogue(root, language, compiled)


def problems(root: Path, languages: Iterable[str]) -> list[str]:
    """Return what is wrong with the catalogues of these languages, one line each."""
    found = []
    for language in translated(languages):
        path = catalogue_of(language)
        if not (root / path).exists():
            found.append(f"{path} is missing, but LANGUAGES offers {language!r}. Run `make messages`.")
            continue
        with tempfile.TemporaryDirectory() as folder:
            compiled = Path(folder, "django.mo")
            if faults := compile_catalogue(root, language, compiled):
                found += faults
                continue
            found += _outdated(root, path.with_suffix(".mo"), compiled)
        catalogue = _read(root / path)
        found += [f"{path}: {each}" for each in _changed(catalogue, root, language)]
        found += [f"{path}: {each}" for each in _unfinished(catalogue)]
    return found


def _read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, abort_invalid=True)


def _texts(catalogue: Catalog) -> set[tuple[str, str, str]]:
    """Return context, singular and plural of each message."""
    return {(each.context or "", *_forms(each)) for each in catalogue if each.id}


def _forms(message: Message) -> tuple[str, str]:
    return (message.id, "") if isinstance(message.id, str) else (message.id[0], message.id[1])


def _changed(catalogue: Catalog, root: Path, language: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        today = Path(folder, "django.po")
        today.write_text(extract(root, language), "utf-8")
        wanted = _texts(_read(today))
    for text in sorted(wanted - _texts(catalogue)):
        yield f'lacks "{text[1]}". Run `make messages`.'
    for text in sorted(_texts(catalogue) - wanted):
        yield f'has "{text[1]}", which no source contains any more. Run `make messages`.'


def _unfinished(catalogue: Catalog) -> Iterator[str]:
    if catalogue.fuzzy:
        yield "the header is marked fuzzy. Complete it, and remove the mark."
    for each in catalogue:
        if not each.id:
            continue
        text, _ = _forms(each)
        translation = [each.string] if isinstance(each.string, str) else each.string
        if each.fuzzy:
            yield f'"{text}" is marked fuzzy. Correct the translation, and remove the mark.'
        elif not all(translation or [""]):
            yield f'"{text}" is not translated.'


def _outdated(root: Path, stored: Path, compiled: Path) -> list[str]:
    """Compare the compiled catalogues by their content: bytes differ between versions of gettext."""
    if (root / stored).exists() and _contents(root / stored) == _contents(compiled):
        return []
    return [f"{stored} is not compiled from today's django.po. Run `make messages`."]


def _contents(compiled: Path) -> str:
    done = subprocess.run(
        ["msgunfmt", "--no-wrap", str(compiled)], capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout


def main(arguments: list[str]) -> int:
    """Check the catalogues, after updating them if asked to. Return the exit status."""
    found = missing_programs()
    if not found:
        for language in translated(LANGUAGES) if "--write" in arguments else ():
            write(ROOT, language)
        found = problems(ROOT, LANGUAGES)
    sys.stdout.write("".join(f"{each}\n" for each in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
