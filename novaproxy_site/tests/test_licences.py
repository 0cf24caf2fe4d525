"""The check of licences: packages that are made up, and one fact about Pillow's wheel."""

from __future__ import annotations

import json
from importlib.metadata import PathDistribution
from pathlib import Path

import pytest
from PIL import features

from novaproxy_site.tests import licences


def installed(
    folder: Path, *files: str, metadata: str = "License-Expression: MIT", **texts: str
) -> licences.Package:
    """Return what is read from a made-up package; ``texts`` are files in its dist-info folder."""
    info = folder / "made_up-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.4\nName: made-up\nVersion: 1\n{metadata}\n\n")
    names = {"bom": "sboms/made_up.cdx.json", "licence": "licenses/LICENSE.txt"}
    for key, text in texts.items():
        path = info / names[key]
        path.parent.mkdir()
        path.write_text(text)
        files = (*files, str(path.relative_to(folder)))
    (info / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return licences.read("made-up", PathDistribution(info))


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("GPL-3.0-only", True),
        ("AGPL-3.0-or-later", True),
        ("GPLv2", True),
        ("GNU General Public License v2 or later (GPLv2+)", True),
        ("GNU Affero General Public License v3", True),
        ("MIT AND GPL-2.0-only", True),
        ("(MIT OR BSD-3-Clause) AND GPL-2.0-only", True),
        ("MIT OR GPL-2.0-only", False),
        ("(MIT OR GPL-2.0-only) AND BSD-3-Clause", False),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("GNU Library or Lesser General Public License (LGPL)", False),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", False),
        ("GPL-3.0-with-GCC-exception", False),
        ("BSD-3-Clause", False),
    ],
)
def test_which_licences_are_refused(licence, expected):
    assert licences.is_strong_copyleft(licence) is expected


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("a.libs/libx265-4883ecb5.so.217", "x265"),
        ("numpy.libs/libgfortran-040039e1-0352e75f.so.5.0.0", "gfortran"),
        ("PIL/.dylibs/libtiff.6.dylib", "tiff"),
        ("a.libs/libgcc_s_seh-1-0123456789abcdef0123456789abcdef.dll", "gcc_s_seh"),
        ("a.libs/libpng16-35002b02.so.16.55.0", "png16"),
    ],
)
def test_names_of_libraries(file, expected):
    assert licences.component_name(file) == expected


def test_a_bundled_gpl_library_is_refused(tmp_path):
    package = installed(tmp_path, "made_up.libs/libx265-4883ecb5.so.217")
    assert licences.problems(package) == ["made-up contains x265, which is under GPL-2.0-or-later."]


def test_unless_an_exception_gives_the_reason(tmp_path):
    package = installed(tmp_path, "made_up.libs/libx265-4883ecb5.so.217")
    assert licences.problems(package, {("made-up", "x265"): "It is never called."}) == []
    assert len(licences.problems(package, {("made-up", "x265"): " "})) == 1


def test_an_unused_exception_is_reported(tmp_path):
    found = licences.problems(installed(tmp_path), {("made-up", "x265"): "It is never called."})
    assert found == ["The exception for x265 in made-up is no longer needed. Remove it."]


def test_a_bundled_lgpl_library_is_allowed_and_listed(tmp_path):
    package = installed(
        tmp_path, "made_up.libs/libde265-90fb0ce1.so.0.2.0", "_a.cpython-311-x86_64-linux-gnu.so"
    )
    assert licences.problems(package) == []
    assert "| made-up | MIT | LGPL-3.0-or-later: de265 |" in licences.table([package])


def test_a_library_nobody_has_looked_up_is_refused(tmp_path):
    (found,) = licences.problems(installed(tmp_path, "made_up.libs/libunheard.so"))
    assert "unheard, whose licence is unknown" in found


@pytest.mark.parametrize(
    "metadata",
    [
        "License-Expression: GPL-3.0-only",
        "License: GPLv3",
        "License: BSD\nClassifier: License :: OSI Approved :: GNU General Public License v3 (GPLv3)",
    ],
)
def test_a_gpl_package_is_refused(tmp_path, metadata):
    (found,) = licences.problems(installed(tmp_path, metadata=metadata))
    assert found.startswith("made-up is under G")


def test_a_package_without_metadata_is_judged_by_its_licence_file(tmp_path):
    package = installed(tmp_path, metadata="Summary: none", licence="GNU GENERAL PUBLIC LICENSE\nVersion 3")
    assert licences.problems(package) == ["made-up is under GNU GENERAL PUBLIC LICENSE."]


def test_a_package_without_a_licence_is_refused(tmp_path):
    assert licences.problems(installed(tmp_path, metadata="Summary: x")) == ["made-up states no licence."]


def test_a_component_in_the_licence_file_is_found(tmp_path):
    package = installed(tmp_path, licence="Name: x265\nLicense: GPLv2\nFiles: libx265.so\n")
    assert licences.problems(package) == ["made-up contains x265, which is under GPLv2."]


def test_a_component_in_the_bill_of_materials_is_found(tmp_path):
    bom = {
        "components": [
            {"name": "libgsl", "licenses": [{"license": {"id": "GPL-3.0-or-later"}}]},
            {"name": "x"},
        ]
    }
    package = installed(tmp_path, bom=json.dumps(bom))
    assert licences.problems(package) == ["made-up contains gsl, which is under GPL-3.0-or-later."]


def test_requirements_of_other_platforms_are_left_out():
    lines = "# comment\nfirst==1\n    # via x\nsecond==2 ; sys_platform == 'nowhere'\n"
    assert licences.required(lines) == ["first"]


def test_pillow_is_built_without_imagequant():
    """The exception for Pillow depends on it."""
    assert not features.check("libimagequant")
