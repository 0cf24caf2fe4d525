"""Copies of local files in the analysis bucket: put there once, removed with the last file of their bytes.

A copy's row is written before the copy is, so that a process killed in between leaves no object that nobody
knows. What may have lost its last file is marked in the transaction that removes the file, and looked into
after the commit; what a process killed in between leaves marked, the sweeper finds.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Iterable
from functools import partial
from typing import Any, Final, cast

from django.core.files.storage import storages
from django.db import transaction
from django.db.models import F, QuerySet
from django.utils.timezone import now

from analysis.conf import conf
from analysis.models import SentCopy
from analysis.providers.base import S3Location
from media_files.errors import MediaError
from media_files.models import MediaFile
from media_files.storage.base import Stored, media_storage
from proxies.models import Proxy

logger = logging.getLogger(__name__)

# The storage alias of the analysis bucket.
ANALYSIS: Final = "analysis"
# Copies that one sweep removes at the most: a request each.
_AT_ONCE: Final = 200


def name_of(sha256: str, format: str) -> str:
    """A copy is named by its bytes: the same bytes are the same object."""
    return f"sha256/{sha256[:2]}/{sha256}.{format.lower().replace('jpeg', 'jpg')}"


def can_be_read() -> bool:
    """Return whether there is an analysis bucket that Amazon's services can read from."""
    return bool(conf().bucket) and media_storage(ANALYSIS).is_amazon


def place_of(name: str) -> S3Location:
    """Where that copy lies or would lie. There is an analysis bucket."""
    bucket = cast(Any, storages[ANALYSIS])
    return S3Location(bucket.bucket_name, posixpath.join(bucket.location, name))


def is_there(place: S3Location) -> bool:
    """Whether the copy is known to have been put: nothing asks S3."""
    return _rows(place).filter(is_there=True).exists()


def announce(place: S3Location, sha256: str) -> None:
    """The copy is about to be put."""
    SentCopy.objects.get_or_create(bucket=place.bucket, key=place.key, defaults={"sha256": sha256})


def put(name: str, content: bytes, content_type: str) -> None:
    """One request. Touches no database.

    Raises:
        StorageError: as the storage says.
    """
    media_storage(ANALYSIS).put(name, content, content_type=content_type)


def stat(place: S3Location) -> Stored:
    """Ask the bucket for the copy. Touches no database.

    Raises:
        SourceMissing: it is not there.
        StorageError: as the storage says.
    """
    return media_storage(ANALYSIS).stat(place.key.removeprefix(place_of("").key))


def confirm(place: S3Location, sha256: str) -> None:
    """The copy is there: it is not put again."""
    if not _rows(place).update(is_there=True):
        # Its last file went meanwhile, and its row with it: the sweeper looks into it.
        values = {"sha256": sha256, "is_there": True, "is_doubtful": True}
        SentCopy.objects.get_or_create(bucket=place.bucket, key=place.key, defaults=values)


def forget(place: S3Location) -> None:
    """The copy has gone, as by a rule of the bucket: the next try puts it there again."""
    _rows(place).update(is_there=False)


# -- Removal ---------------------------------------------------------------------------------------


def doubt(sha256: str) -> None:
    """A file or proxy of these bytes goes with the current transaction, and perhaps it was the last."""
    if not (conf().bucket and sha256):
        return
    if SentCopy.objects.filter(sha256=sha256).update(is_doubtful=True):
        transaction.on_commit(partial(_look_into, sha256), robust=True)


def remove_left_over() -> int:
    """Look into what is still in doubt; return how many copies went."""
    if not conf().bucket:
        return 0
    # The least recently tried first: one that cannot be removed must not hide those behind it.
    return _remove_all(_doubtful().order_by(F("tried_at").asc(nulls_first=True), "id")[:_AT_ONCE])


def _look_into(sha256: str) -> None:
    _remove_all(_doubtful().filter(sha256=sha256))


def _doubtful() -> QuerySet[SentCopy]:
    """Those where the settings say today; what lies elsewhere is left alone."""
    today = place_of("")
    return SentCopy.objects.filter(is_doubtful=True, bucket=today.bucket, key__startswith=today.key)


def _remove_all(doubtful: Iterable[SentCopy]) -> int:
    """Remove those that nobody needs; what the bucket does not remove now is left to the sweeper."""
    gone = 0
    for copy in doubtful:
        try:
            gone += _remove(copy)
        except MediaError as error:
            logger.warning("Could not remove %s yet; the sweeper tries again: %s", copy, error)
            SentCopy.objects.filter(pk=copy.pk).update(tried_at=now())
            if error.transient:
                break  # the next would wait for the same bucket
    return gone


def _remove(copy: SentCopy) -> bool:
    """Remove the copy and its row, where no file of these bytes is left; else it is in doubt no longer."""
    row = SentCopy.objects.filter(pk=copy.pk)
    if any(model.objects.filter(sha256=copy.sha256).exists() for model in (MediaFile, Proxy)):
        row.update(is_doubtful=False)
        return False
    row.update(is_there=False)  # who begins now puts it there again
    media_storage(ANALYSIS).delete(copy.key.removeprefix(place_of("").key))
    return bool(row.filter(is_there=False).delete()[0])


def _rows(place: S3Location) -> QuerySet[SentCopy]:
    return SentCopy.objects.filter(bucket=place.bucket, key=place.key)
