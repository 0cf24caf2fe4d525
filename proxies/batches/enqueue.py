"""Add files to the ledger, with one INSERT ... SELECT per page."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import Case, CharField, DateTimeField, F, QuerySet, Value, When
from django.db.models.expressions import Combinable
from django.utils.timezone import now

from proxies.batches import recipes
from proxies.models import Batch, BatchItem
from proxies.outcomes import NEEDS_WORK


def insert_items(batch: Batch, files: QuerySet[Any]) -> None:
    """Add ``files``, annotated by the batch's operation: those that need work as queued, the rest as done.

    The columns are those of `BatchItem`; the annotations are ``outcome`` and, for a settled file,
    ``settled_reasons``, ``settled_error`` and ``settled_message``.
    """
    to_do = [outcome.value for outcome in NEEDS_WORK]
    moment = Value(now(), DateTimeField())
    waits = When(outcome__in=to_do, then=Value(BatchItem.State.QUEUED.value))
    columns: dict[str, Combinable] = {
        "batch_id": Value(batch.pk),
        "file_id": F("pk"),
        "state": Case(waits, default=Value(BatchItem.State.DONE.value), output_field=CharField()),
        "outcome": Case(
            When(outcome__in=to_do, then=Value("")), default=F("outcome"), output_field=CharField()
        ),
        "reasons": F("settled_reasons"),
        "error": F("settled_error"),
        "message": F("settled_message"),
        "recipe": Value(recipes.of_batch(batch)),
        "attempts": Value(0),
        "transient_failures": Value(0),
        "available_at": moment,
        "lease_holder": Value(""),
        "finished_at": Case(When(outcome__in=to_do, then=None), default=moment, output_field=DateTimeField()),
    }
    selected = files.annotate(**{f"item_{name}": value for name, value in columns.items()})
    rows = selected.order_by("pk").values_list(*(f"item_{name}" for name in columns))
    try:
        sql, parameters = rows.query.sql_with_params()
    except EmptyResultSet:  # Django can tell without a query that no row matches
        return
    with connection.cursor() as cursor:
        quoted = ", ".join(connection.ops.quote_name(name) for name in columns)
        table = connection.ops.quote_name(BatchItem._meta.db_table)
        cursor.execute(f"INSERT INTO {table} ({quoted}) {sql}", parameters)


def refresh_statistics() -> None:
    """Refresh PostgreSQL's statistics of the ledger after a bulk load.

    Autovacuum would do so about a minute later. Until then the planner uses the old statistics, and for an
    empty ledger any index looks as good as the right one. SQLite's planner considers only the indexes.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            # If a vacuum holds the table, it analyzes the table as well.
            cursor.execute(f"ANALYZE (SKIP_LOCKED) {connection.ops.quote_name(BatchItem._meta.db_table)}")
