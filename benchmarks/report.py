"""Format the answers as text for the terminal, and as the page docs/performance.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HEAD = """# Performance

`make bench` wrote this page from a single run; the load of the machine is shown below each group of tables.
Ratios vary by a few hundredths from run to run. Compare figures within one table, never between machines.

## How to repeat it

    make bench                     # everything, eleven minutes
    make bench SHORT=1             # the short form: fewer and smaller pictures, under two minutes
    make bench PHOTOS=~/Pictures   # your own photographs instead of generated ones
    make bench ONLY="pixels growth"

It installs the libraries it compares with into a separate environment (`.venv-bench`), and sharp if node is
available. It writes `var/benchmarks/result.json`; `python -m benchmarks.report var/benchmarks/result.json`
turns that file into this page. Each question can be run alone.

## How it is measured

* Figures are CPU time unless marked "wall": the time of the whole process, including threads that a library
  starts. Each library is limited to one thread.
* All libraries process the same file in turn before the next file starts; the order rotates by one each time.
  A figure is the median over the files of each file's median over the rounds; "spread" is the range of one
  file's times.
* **The limit** is measured in the same run: decode at the smallest libjpeg scale that is no smaller than the
  proxy, and encode as many pixels as the proxy has, with no resize in between.
* Fidelity is the luma SSIM (Wang et al.) lost against the full decode resized in floating point, beyond the
  loss of JPEG 85 itself.
"""


_REMAINS = """## What remains

* **JPEG**: the cost above the limit is the SIMD resize and the larger decode that Lanczos needs: pictures of
  8 and of 20 to 24 megapixels are decoded at twice the limit's scale. pyvips decodes at a larger scale at
  12 to 18 megapixels and at the same scale at 20 to 24, where it comes close to us. For progressive files
  nearly all the time is spent in libjpeg, whichever library calls it. The encoder's quantization restores the
  contrast that reduced decoding costs, which takes no time.
* **PNG**: libspng decodes it, and the pixels alone take as long as libvips takes for everything. The rest is
  the resize over whole rows in memory; for a transparent proxy, PNG compression adds a third.
* **WebP**: libvips and sharp let libwebp scale while it decodes, which loses eighty times the fidelity. The
  libraries that we use offer no such decode, and Pillow opens each picture with two canvases of its size.
* **Memory** of a baseline JPEG stays below the goal because pictures that would take more than 38 MB decoded
  are resized while they are decoded. This takes up to a tenth more CPU time on systems with large pages, and
  up to a fifth more without, because freed memory must be allocated again. It affects pictures with much
  grain of 10 to 19 megapixels (23 at 16 : 9) and of four times as many, others of 10 megapixels at 3 : 2, and
  panoramas.
* **Memory** of PNG, WebP, TIFF, HEIC and AVIF grows with the picture: they are decoded whole, PNG and WebP
  into a copy of 3 bytes per pixel in addition to Pillow's of 4.
* The four Django libraries do not wait for the disk; NovaProxy does. This shows in wall time, not CPU time.
"""


def table_lines(table: dict[str, Any]) -> list[str]:
    """Format a Markdown table with aligned columns, followed by its notes."""
    rows = [table["columns"], *table["rows"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table["columns"]))]

    def line(row: list[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(cells)} |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return [line(rows[0]), rule, *map(line, rows[1:]), "", *table["notes"]]


def goal_lines(goals: list[dict[str, Any]]) -> list[str]:
    """Format one table of all goals, and whether each holds."""
    rows = [
        [
            goal["text"],
            f"{goal['value']:.2f}",
            f"{'>=' if goal['at_least'] else '<='} {goal['limit']:g}",
            "holds" if goal["holds"] else "**missed**",
        ]
        for goal in goals
    ]
    return table_lines({"columns": ["goal", "measured", "wanted", ""], "rows": rows, "notes": []})


def question_lines(question: dict[str, Any]) -> list[str]:
    """Format a question's tables, and the load of the machine before it ran."""
    lines = [f"## {question['title']}", ""]
    for table in question["tables"]:
        lines += [f"### {table['title']}", "", *table_lines(table), ""]
    return [*lines, f"{question['seconds']} s; the load before it was {question['load']}.", ""]


def page(result: dict[str, Any]) -> str:
    """Return the text of docs/performance.md."""
    questions = result["questions"].values()
    goals = goal_lines([goal for question in questions for goal in question["goals"]])
    lines = ["## The machine", "", f"{result['machine']}.", "", f"{result['versions']}.", ""]
    lines += ["## Goals", "", *goals]
    for question in questions:
        lines += question_lines(question)
    return "\n".join([_HEAD, *lines, _REMAINS]).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(sys.argv[1]).read_text())))
