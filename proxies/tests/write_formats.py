"""Measure every kind of image and rewrite the table of `docs/formats.md`.

Run as ``python -m proxies.tests.write_formats``.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from proxies.tests.kinds import KINDS, Kind
from proxies.tests.measuring import measure

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"
BEGIN = "<!-- table: written by `make docs-formats`, checked by the tests -->"
END = "<!-- end of table -->"
HEAD = (
    "| Kind | Written by | Proxy | Reasons beside its size | Mean dE2000 |",
    "|---|---|---|---|---|",
)


@dataclass(frozen=True)
class Row:
    """A row of the table, as text."""

    kind: str
    maker: str
    outcome: str


def rows_of_document(text: str) -> list[Row]:
    """Return the table's rows as the document has them."""
    table = text.partition(BEGIN)[2].partition(END)[0].strip().splitlines()[len(HEAD) :]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [Row(kind, maker, outcome) for kind, maker, outcome, *_ in cells]


def _row(kind: Kind) -> str:
    with tempfile.TemporaryDirectory() as folder:
        outcome = measure(kind, Path(folder), "auto")
    if outcome.rendered is None:
        return f"| {kind.name} | {kind.maker} | refused: `{outcome.error}` | | |"
    reasons = ", ".join(f"`{reason}`" for reason in outcome.reasons if reason != "shorter_side")
    return f"| {kind.name} | {kind.maker} | {outcome.rendered.format} | {reasons} | {outcome.delta_e:.2f} |"


def main() -> None:
    """Replace the table in the document."""
    text = DOCUMENT.read_text()
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    table = "\n".join([BEGIN, "", *HEAD, *map(_row, KINDS), "", END])
    DOCUMENT.write_text(before + table + after)


if __name__ == "__main__":
    main()
