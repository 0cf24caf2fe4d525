"""Files written by programs other than Pillow, and the table of them in `docs/formats.md`."""

from __future__ import annotations

from pathlib import Path

import pytest

from proxies.rendering.resize import Resizer
from proxies.tests.kinds import KINDS, Kind
from proxies.tests.measuring import measure
from proxies.tests.write_formats import DOCUMENT, rows_of_document

NAMES = [kind.name for kind in KINDS]
UPRIGHT = "rgbw"


def _check(kind: Kind, folder: Path, resizer: Resizer) -> None:
    outcome = measure(kind, folder, resizer)
    if kind.refused:
        assert outcome.error == kind.format
        return
    assert outcome.error == ""
    assert outcome.rendered is not None
    assert outcome.rendered.format == kind.format
    assert set(outcome.reasons) == {"shorter_side", *kind.reasons}
    assert {name: getattr(outcome.facts, name) for name, _ in kind.facts} == dict(kind.facts)
    assert {name: outcome.rendered.provenance[name] for name, _ in kind.provenance} == dict(kind.provenance)
    assert outcome.delta_e < kind.limit
    if "orientation" in kind.name:
        assert outcome.corners == UPRIGHT


@pytest.mark.parametrize("kind", KINDS, ids=NAMES)
def test_a_proxy_shows_what_the_original_shows(kind: Kind, tmp_path: Path) -> None:
    _check(kind, tmp_path, "auto")


@pytest.mark.parametrize("kind", KINDS[::9], ids=NAMES[::9])
def test_it_does_so_without_simd(kind: Kind, tmp_path: Path) -> None:
    _check(kind, tmp_path, "pillow")


def test_the_document_lists_exactly_these_kinds() -> None:
    documented = {row.kind: (row.maker, row.outcome) for row in rows_of_document(DOCUMENT.read_text())}
    expected = {
        kind.name: (kind.maker, f"refused: `{kind.format}`" if kind.refused else kind.format)
        for kind in KINDS
    }
    assert documented == expected
