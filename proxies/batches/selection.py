"""Which files: those of a query, or a list of ids; read in pages, so that memory does not grow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from media_files.models import MediaFile

# A page's rows enter the ledger in one transaction: on SQLite that keeps other writers waiting for
# about a tenth of a second. Ids are query parameters, of which SQLite takes 32,766.
PAGE: Final = 20_000


@dataclass(frozen=True)
class Selection:
    """Files to plan over or to work on, in ascending order of their ids.

    Attributes:
        files: a query, without slice.
        ids: where given, only these of them.
    """

    files: QuerySet[MediaFile]
    ids: Sequence[int] | None = None

    def pages(self) -> Iterator[QuerySet[MediaFile]]:
        """Queries of at most `PAGE` rows each, which together are the selection."""
        files = self.files.order_by("pk")
        if self.ids is not None:
            ids = sorted(set(self.ids))
            for start in range(0, len(ids), PAGE):
                yield files.filter(pk__in=ids[start : start + PAGE])
            return
        last = None
        while True:
            rest = files if last is None else files.filter(pk__gt=last)
            end = rest.values_list("pk", flat=True)[PAGE - 1 : PAGE].first()
            if end is None:
                yield rest
                return
            yield rest.filter(pk__lte=end)
            last = end
