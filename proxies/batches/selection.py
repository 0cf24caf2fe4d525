"""A selection of files, by query or by ids; read in pages, so that memory use stays constant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from django.db.models import QuerySet

from media_files.models import MediaFile

# A page's rows are inserted in one transaction, which blocks other writers on SQLite for about a tenth of
# a second. Ids are query parameters, of which SQLite accepts 32,766.
PAGE: Final = 20_000


@dataclass(frozen=True)
class Selection:
    """Files to plan for or to process, in ascending order of their ids.

    Attributes:
        files: an unsliced query.
        ids: if set, only the files with these ids.
    """

    files: QuerySet[MediaFile]
    ids: Sequence[int] | None = None

    def pages(self) -> Iterator[QuerySet[MediaFile]]:
        """Yield queries of at most `PAGE` rows each that together cover the selection."""
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
