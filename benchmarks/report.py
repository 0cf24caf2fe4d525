"""The answers as text: for the terminal, and as the page docs/performance.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HEAD = """# Performance

What `make bench` found in one run, written by it; how busy the machine was is told below each table. From one
run to the next the ratios move by some hundredths. Compare figures of one table, never those of two machines.

## How to repeat it

    make bench                     # all of it, eleven minutes
    make bench SHORT=1             # the short form: fewer and smaller pictures, under two minutes
    make bench PHOTOS=~/Pictures   # your own photographs in place of generated ones
    make bench ONLY="pixels growth"

It installs what it compares with into an environment of its own (`.venv-bench`), sharp where there is node,
and writes `var/benchmarks/result.json`, of which `python -m benchmarks.report var/benchmarks/result.json`
makes this page. Questions can be asked one by one; each tells how busy the machine was before it.

## How it is measured

* CPU time unless "wall" is said: that of the whole process, with the threads that a library starts. Each
  library is told to use one.
* Everyone works on the same file in turn before the next file comes; the order moves on by one each time.
  A figure is the median over the files of each file's median over the rounds; "spread" is how far one
  file's times lie apart.
* **The limit** is read in the same run: decode at the smallest scale of libjpeg's that is no smaller than
  the proxy, and encode as many pixels as the proxy has, with no resize between.
* Fidelity is luma SSIM (Wang et al.) lost against the full decode resized in floating point, beyond what
  JPEG 85 itself costs.
"""


_REMAINS = """## What remains

* **JPEG**: above the limit lie the SIMD resize and the room that Lanczos is given: 8 and 20 to 24 megapixels
  are decoded at twice the scale of the limit. pyvips gives more room at 12 to 18 megapixels and as much at 20
  to 24, where it comes near us; of a progressive file nearly all time is libjpeg's, whoever calls it. The
  contrast that reduced decoding costs is put back by the encoder's quantization, which takes no time.
* **PNG**: decoded by libspng, which takes as long for the pixels alone as libvips takes for all. What lies
  above that is the resize over whole rows in memory; of a transparent proxy the packing is a further third.
* **WebP**: libvips and sharp have libwebp scale while it decodes, which loses eighty times the fidelity. The
  libraries that we keep offer no such decode, and Pillow opens each picture with two canvases of its size.
* **Memory** of a baseline JPEG stays below the goal because one that would take more than 38 MB decoded is
  resized while it is decoded. That takes up to a tenth more CPU time where the system has large pages, and a
  fifth where it has none, for memory that is given back must be had anew. It concerns pictures with much
  grain of 10 to 19 megapixels (23 at 16 : 9) and those of four times as many, others of 10 megapixels at
  3 : 2, and panoramas.
* **Memory** of PNG, WebP, TIFF, HEIC and AVIF grows with the picture: they are decoded whole, PNG and WebP
  into a copy of 3 bytes a pixel besides Pillow's of 4.
* The four Django libraries do not wait for the disk; ours does. That is wall time, not CPU time.
"""


def table_lines(table: dict[str, Any]) -> list[str]:
    """A Markdown table with its columns aligned, and its notes."""
    rows = [table["columns"], *table["rows"]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table["columns"]))]

    def line(row: list[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return f"| {' | '.join(cells)} |"

    rule = "|".join(["", "-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:]), ""])
    return [line(rows[0]), rule, *map(line, rows[1:]), "", *table["notes"]]


def goal_lines(goals: list[dict[str, Any]]) -> list[str]:
    """One table of all goals, and whether each holds."""
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
    """A question's tables, and how busy the machine was with other things as it was asked."""
    lines = [f"## {question['title']}", ""]
    for table in question["tables"]:
        lines += [f"### {table['title']}", "", *table_lines(table), ""]
    return [*lines, f"{question['seconds']} s; the load before it was {question['load']}.", ""]


def page(result: dict[str, Any]) -> str:
    """docs/performance.md."""
    questions = result["questions"].values()
    goals = goal_lines([goal for question in questions for goal in question["goals"]])
    lines = ["## The machine", "", f"{result['machine']}.", "", f"{result['versions']}.", ""]
    lines += ["## Goals", "", *goals]
    for question in questions:
        lines += question_lines(question)
    return "\n".join([_HEAD, *lines, _REMAINS]).rstrip() + "\n"


if __name__ == "__main__":
    sys.stdout.write(page(json.loads(Path(sys.argv[1]).read_text())))
