"""Database statements for each image of a batch, and the images per second that the database alone allows."""

from __future__ import annotations

from benchmarks.children import ask
from benchmarks.databases import databases
from benchmarks.harness import Answer, Goal, Options, Table, number

STATEMENTS_LIMIT = 18.0


def measure(options: Options) -> Answer:
    images = 150 if options.short else 3000
    rows, goals = [], []
    with databases() as urls:
        for name, url in urls.items():
            arguments = ("--images", images, "--processes", 1, 2)
            reported = ask("ledger", *arguments, environment={"DATABASE_URL": url})
            each, rate = reported["for_each_image"], reported["images_per_second"]
            counts = [number(each[what], 1) for what in ("statements", "writes", "transactions")]
            rows.append([name, *counts, *(number(rate[count]) for count in ("1", "2"))])
            goals.append(Goal(f"{name}: statements for each image", each["statements"], STATEMENTS_LIMIT))
    columns = (
        "database",
        "statements",
        "of them writes",
        "transactions",
        "images/s, 1 process",
        "2 processes",
    )
    notes = ["Nothing is read, rendered or stored: what the ledger alone costs. None runs while rendering."]
    return Answer([Table("The database, for each image of a batch", columns, rows, notes)], goals)
