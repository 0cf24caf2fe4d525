"""Copies of local files in the analysis bucket: uploaded once, deleted with the last file with their bytes.

The row is written before the upload, so a process killed in between leaves no unrecorded object. A copy that
may have lost its last file is marked as doubtful in the transaction that deletes the file, and checked after
the commit; if the process is killed in between, the sweeper checks it.
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
# Maximum number of copies deleted by one sweep: one request each.
_AT_ONCE: Final = 200


def name_of(sha256: str, format: str) -> str:
    """Return a copy's name, derived from its bytes: equal bytes share one object."""
    return f"sha256/{sha256[:2]}/{sha256}.{format.lower().replace('jpeg', 'jpg')}"


def can_be_read() -> bool:
    """Return whether there is an analysis bucket that Amazon's services can read from."""
    return bool(conf().bucket) and media_storage(ANALYSIS).is_amazon


def place_of(name: str) -> S3Location:
    """Return the location of a copy, uploaded or not. Requires an analysis bucket."""
    bucket = cast(Any, storages[ANALYSIS])
    return S3Location(bucket.bucket_name, posixpath.join(bucket.location, name))


def is_there(place: S3Location) -> bool:
    """Return whether the copy is recorded as uploaded, without a request to S3."""
    return _rows(place).filter(is_there=True).exists()


def announce(place: S3Location, sha256: str) -> None:
    """Record that the copy is about to be uploaded."""
    SentCopy.objects.get_or_create(bucket=place.bucket, key=place.key, defaults={"sha256": sha256})


def put(name: str, content: bytes, content_type: str) -> None:
    """Upload a copy with one request. Does not use the database.

    Raises:
        StorageError: from the storage.
    """
    media_storage(ANALYSIS).put(name, content, content_type=content_type)


def stat(place: S3Location) -> Stored:
    """Return the copy's metadata from the bucket. Does not use the database.

    Raises:
        SourceMissing: it does not exist.
        StorageError: from the storage.
    """
    return media_storage(ANALYSIS).stat(place.key.removeprefix(place_of("").key))


def confirm(place: S3Location, sha256: str) -> None:
    """Record that the copy exists, so that it is not uploaded again."""
    if not _rows(place).update(is_there=True):
        # Its last file was deleted meanwhile, and its row too: let the sweeper check it.
        values = {"sha256": sha256, "is_there": True, "is_doubtful": True}
        SentCopy.objects.get_or_create(bucket=place.bucket, key=place.key, defaults=values)


def forget(place: S3Location) -> None:
    """Record that the copy was deleted, such as by a lifecycle rule; the next attempt uploads it again."""
    _rows(place).update(is_there=False)


# -- Removal ---------------------------------------------------------------------------------------


def doubt(sha256: str) -> None:
    """Mark copies of these bytes: the current transaction deletes a file or proxy, perhaps the last one."""
    if not (conf().bucket and sha256):
        return
    if SentCopy.objects.filter(sha256=sha256).update(is_doubtful=True):
        transaction.on_commit(partial(_look_into, sha256), robust=True)


def remove_left_over() -> int:
    """Check the copies that are still doubtful; return how many were deleted."""
    if not conf().bucket:
        return 0
    # Least recently tried first: copies that cannot be deleted must not block the others.
    return _remove_all(_doubtful().order_by(F("tried_at").asc(nulls_first=True), "id")[:_AT_ONCE])


def _look_into(sha256: str) -> None:
    _remove_all(_doubtful().filter(sha256=sha256))


def _doubtful() -> QuerySet[SentCopy]:
    """Return the doubtful copies at the currently configured location; leave others alone."""
    today = place_of("")
    return SentCopy.objects.filter(is_doubtful=True, bucket=today.bucket, key__startswith=today.key)


def _remove_all(doubtful: Iterable[SentCopy]) -> int:
    """Delete the copies without a file; leave those that the bucket cannot delete now to the sweeper."""
    gone = 0
    for copy in doubtful:
        try:
            gone += _remove(copy)
        except MediaError as error:
            logger.warning("Could not remove %s yet; the sweeper tries again: %s", copy, error)
            SentCopy.objects.filter(pk=copy.pk).update(tried_at=now())
            if error.transient:
                break  # the next one would fail the same way
    return gone


def _remove(copy: SentCopy) -> bool:
    """Delete the copy and its row if no file with its bytes is left; else clear the doubtful mark."""
    row = SentCopy.objects.filter(pk=copy.pk)
    if any(model.objects.filter(sha256=copy.sha256).exists() for model in (MediaFile, Proxy)):
        row.update(is_doubtful=False)
        return False
    row.update(is_there=False)  # an analysis that starts now uploads it again
    media_storage(ANALYSIS).delete(copy.key.removeprefix(place_of("").key))
    return bool(row.filter(is_there=False).delete()[0])


def _rows(place: S3Location) -> QuerySet[SentCopy]:
    return SentCopy.objects.filter(bucket=place.bucket, key=place.key)
