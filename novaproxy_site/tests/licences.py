"""Check the licences of the installed run-time dependencies, including the native libraries in their wheels.

Run as ``python -m novaproxy_site.tests.licences`` (part of ``make lint``); ``--write`` updates the table of
``docs/licences.md``. Metadata describes a package's own code; a wheel may also contain libraries under other
licences. So the files in RECORD, the licence lists and the software bills of materials are read as well.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[2]
DOCUMENT: Final = ROOT / "docs" / "licences.md"
BEGIN: Final = "<!-- table: written by `make docs-licences`, checked by `make lint` -->"
END: Final = "<!-- end of table -->"
HEAD: Final = ("| Package | Its licence | Bundled libraries |", "|---|---|---|")
REFERENCE: Final = ("Linux", "x86_64", "3.11")
"""The table describes this platform. Other wheels bundle other libraries."""

EXCEPTIONS: Final[Mapping[tuple[str, str], str]] = {
    ("pillow-heif", "x265"): (
        "The wheel contains the encoder, which NovaProxy never calls. The builds without it lag behind in "
        "security fixes of the decoder. NovaProxy does not distribute the wheel."
    ),
    ("pillow", "imagequant"): (
        "The bill of materials lists everything that Pillow can be built with. "
        "The wheels are built without libimagequant, which a test checks."
    ),
}
"""GPL components that are accepted, by package and component (without ``lib``), each with the reason."""

_BY_LICENCE: Final[Mapping[str, str]] = {
    "0BSD": "lzma",
    "Apache-2.0": "Lerc SPERR crypto ssl uhdr zopfli cpcodec",
    "BSD-2-Clause": "aec aom avif jpegxr jxrglue lz4 openjp2 openjph sz",
    "BSD-3-Clause": (
        "blosc blosc2 charls jxl jxl_cms jxl_threads lzfse scipy_openblas64_ sharpyuv snappy webp "
        "webpdemux webpmux zfp zstd"
    ),
    "BSD-3-Clause-Attribution": "sasl2",
    "FTL": "freetype",
    "GPL-3.0-or-later WITH GCC-exception-3.1": "gcc_s gfortran gomp stdc++ gcc_s_seh",
    "IJG AND BSD-3-Clause": "jpeg",
    "LGPL-2.1-or-later": "crypt keyutils quadmath",
    "LGPL-3.0-or-later": "de265 heif",
    "MIT": (
        "Xau brotlicommon brotlidec brotlienc com_err deflate gif gssapi_krb5 harfbuzz k5crypto krb5 "
        "krb5support lcms2 lzokay lzokay-c meshoptimizer winpthread xcb"
    ),
    "LicenseRef-Argonne-SZ": "SZ3c",  # the BSD licence with an acknowledgement in the documentation
    "LicenseRef-Public-Domain": "lzhamcomp lzhamdecomp lzhamdll",
    "OLDAP-2.8": "lber ldap",
    "PostgreSQL": "pq",
    "libpng-2.0": "png16",
    "libtiff": "tiff",
    # Not bundled by any wheel in use, except x265; listed so that the name of the licence is reported.
    "AGPL-3.0-or-later": "gs mupdf",
    "GPL-2.0-or-later": "dvdcss exiv2 fftw3 fftw3f postproc rubberband vidstab x264 x265 xvidcore",
    "GPL-3.0-or-later": "gsl history imagequant readline",
}
LIBRARIES: Final = {name: licence for licence, names in _BY_LICENCE.items() for name in names.split()}
"""The licence of each library, by its file name without ``lib``, version and hash."""

_NATIVE: Final = re.compile(r"\.(so(\.\d+)*|dylib|dll|pyd)$")
_EXTENSION: Final = re.compile(r"\.(cpython|pypy|abi3|cp\d|graalpy)[^/]*\.(so|pyd)$|\.pyd$")
_WEAK: Final = re.compile(r"\bLGPL\S*|\b(lesser|library) general public licen[sc]e", re.IGNORECASE)
_EXEMPT: Final = re.compile(r"\bGPL\S*?[ -]with[ -]GCC-exception\S*", re.IGNORECASE)
_STRONG: Final = re.compile(r"\bA?GPL|general public licen[sc]e|\baffero\b", re.IGNORECASE)
_LICENCE_FILE: Final = re.compile(r"(licen[sc]e|copying)[^/]*(?<!\.py)(?<!\.pyc)$", re.IGNORECASE)
_BOM: Final = re.compile(r"\.dist-info/sboms/.*json$")
_LISTED: Final = re.compile(r"^Name: *(?P<name>.+)\n(?:.+\n)*?Licen[sc]e: *(?P<licence>.+)$", re.MULTILINE)
_TITLES: Final = re.compile(
    r"(MIT|BSD|Apache|Mozilla Public|GNU (?:Lesser |Affero )?General Public) Licen[sc]e", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Package:
    """The licences found in one installed package.

    Attributes:
        name: as in requirements.txt.
        licences: of its own code; all of them apply.
        libraries: the shared libraries in its wheel, without ``lib``, versions and hashes.
        native: whether the wheel contains any machine code.
        components: name and licence of everything that its licence lists and bills of materials declare.
    """

    name: str
    licences: tuple[str, ...]
    libraries: tuple[str, ...]
    native: bool
    components: tuple[tuple[str, str], ...]


def is_strong_copyleft(licence: str) -> bool:
    """Return whether the GPL or AGPL applies, with no other licence to choose and no runtime exception.

    Args:
        licence: an SPDX expression, a classifier or free text.
    """
    while (inner := re.search(r"\(([^()]* (?:OR|AND) [^()]*)\)", licence)) is not None:
        replacement = "GPL" if is_strong_copyleft(inner[1]) else "permissive"
        licence = licence[: inner.start()] + replacement + licence[inner.end() :]
    return all(
        any(_STRONG.search(_EXEMPT.sub("", _WEAK.sub("", term))) for term in choice.split(" AND "))
        for choice in licence.split(" OR ")
    )


def component_name(name: str) -> str:
    """Return a library's name without folder, ``lib``, suffix, version and the hash of wheel repair tools."""
    stem = re.split(r"\.(?:so|dylib|dll|pyd)\b", name.rpartition("/")[2])[0]
    stem = re.sub(r"(-[0-9a-f]{8,64})+$", "", stem)
    return re.sub(r"[.-]\d+(\.\d+)*$", "", stem).removeprefix("lib")


def read(name: str, found: Distribution) -> Package:
    """Read the licences of an installed package."""
    files = [str(file) for file in found.files or ()]
    native = [file for file in files if _NATIVE.search(file)]
    libraries = {component_name(file) for file in native if not _EXTENSION.search(file)}
    texts = _contents(found, [file for file in files if _LICENCE_FILE.search(file)])
    declared = [(each["name"], each["licence"]) for text in texts for each in _LISTED.finditer(text)]
    for bom in _contents(found, [file for file in files if _BOM.search(file)]):
        declared += _components(json.loads(bom))
    return Package(
        name,
        tuple(_own_licences(found, texts)),
        tuple(sorted(libraries, key=str.lower)),
        bool(native),
        tuple((component_name(each), licence) for each, licence in declared),
    )


def _contents(found: Distribution, files: list[str]) -> list[str]:
    return [Path(str(found.locate_file(file))).read_text("utf-8", "replace") for file in files]


def _own_licences(found: Distribution, texts: list[str]) -> list[str]:
    """Return what the metadata states; where it states nothing, the titles of the licence files."""
    metadata = found.metadata.json
    if expression := metadata.get("license_expression"):
        return [str(expression)]
    stated = str(metadata.get("license", "")).strip().splitlines()[:1]
    classifiers = [each for each in metadata.get("classifier", ()) if each.startswith("License ::")]
    classifiers = [each.rpartition(" :: ")[2] for each in classifiers]
    if stated or classifiers:
        return list(dict.fromkeys([*stated, *classifiers]))
    return sorted({title[0] for text in texts if (title := _TITLES.search(text))})


def _components(bom: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield name and licence of each component of a CycloneDX document that states a licence."""
    for component in bom.get("components", ()):
        licences = [
            each.get("expression") or each["license"].get("id") or each["license"].get("name", "")
            for each in component.get("licenses") or ()
        ]
        if licences:
            yield (
                component["name"],
                " AND ".join(f"({each})" if " OR " in each else each for each in licences),
            )


def problems(package: Package, exceptions: Mapping[tuple[str, str], str] = EXCEPTIONS) -> list[str]:
    """Return what is wrong with a package's licences, one sentence each."""
    found = []
    if not package.licences:
        found.append(f"{package.name} states no licence.")
    found += [
        f"{package.name} is under {licence}." for licence in package.licences if is_strong_copyleft(licence)
    ]
    found += [
        f"{package.name} bundles {library}, whose licence is unknown. Add it to LIBRARIES."
        for library in package.libraries
        if library not in LIBRARIES
    ]
    bundled = [(library, LIBRARIES[library]) for library in package.libraries if library in LIBRARIES]
    strong = dict(each for each in (*package.components, *bundled) if is_strong_copyleft(each[1]))
    found += [
        f"{package.name} contains {component}, which is under {licence}."
        for component, licence in strong.items()
        if not exceptions.get((package.name, component), "").strip()
    ]
    found += [
        f"The exception for {component} in {name} is no longer needed. Remove it."
        for name, component in exceptions
        if name == package.name and component not in strong
    ]
    return found


def required(lines: str) -> list[str]:
    """Return the packages of a requirements file that apply to this environment."""
    listed = [Requirement(line) for line in lines.splitlines() if line and line[0] not in " #-"]
    return [each.name for each in listed if each.marker is None or each.marker.evaluate()]


def table(packages: list[Package]) -> str:
    """Return the document's table: each package with native code, and what its wheel bundles."""
    rows = [
        f"| {package.name} | {', '.join(package.licences)} | {_bundled(package)} |"
        for package in packages
        if package.native
    ]
    return "\n".join([BEGIN, "", *HEAD, *rows, "", END])


def _bundled(package: Package) -> str:
    by_licence: dict[str, list[str]] = {}
    for library in package.libraries:
        by_licence.setdefault(LIBRARIES.get(library, "unknown"), []).append(library)
    return (
        "; ".join(f"{licence}: {', '.join(names)}" for licence, names in sorted(by_licence.items())) or "none"
    )


def _updated(text: str, packages: list[Package]) -> str:
    return text.partition(BEGIN)[0] + table(packages) + text.partition(END)[2]


def main(arguments: list[str]) -> int:
    """Check all run-time dependencies, and check or write the table. Return the exit status."""
    packages, found = [], []
    for name in required((ROOT / "requirements.txt").read_text("utf-8")):
        try:
            packages.append(read(name, distribution(name)))
        except PackageNotFoundError:
            found.append(f"{name} is not installed.")
    for package in packages:
        found += problems(package)
    here = (platform.system(), platform.machine(), ".".join(platform.python_version_tuple()[:2]))
    if here == REFERENCE:
        text = DOCUMENT.read_text("utf-8")
        if "--write" in arguments:
            DOCUMENT.write_text(_updated(text, packages), "utf-8")
        elif _updated(text, packages) != text:
            found.append("The table of docs/licences.md is outdated. Run `make docs-licences`.")
    sys.stdout.write("".join(f"{each}\n" for each in found))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
