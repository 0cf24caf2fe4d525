"""Delete the answers about deleted files: after the trash period, or immediately on request."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import transaction
from django.db.models import Q
from django.utils.timezone import now

from analysis import budgets, s3_copies
from analysis.conf import conf
from analysis.models import Analysis
from media_files.models import MediaFile

# Maximum number of answers deleted by one sweep.
_AT_ONCE: Final = 1000


def forget(file: MediaFile) -> None:
    """Delete a file, all answers about its bytes, and their copies in the analysis bucket.

    Answers about other files with the same bytes are kept. If the bucket cannot delete a copy now, the
    sweeper deletes it later.

    Raises:
        MediaError: the file cannot be deleted.
    """
    with transaction.atomic():
        hashes = {file.sha256, *Analysis.everything.filter(file=file).values_list("sha256", flat=True)}
        hashes.update(file.proxies.values_list("sha256", flat=True))
        _forget(Q(file=file), hashes - {""}, file.fingerprint)
        file.delete()


def kept_answers(sha256: str) -> int:
    """Return the number of answers kept about deleted files with these bytes."""
    return Analysis.everything.filter(_kept({sha256}, sha256)).count() if sha256 else 0


def forget_bytes(sha256: str) -> int:
    """Delete the answers kept about deleted files with these bytes; return their number."""
    with transaction.atomic():
        return _forget(Q(pk=None), {sha256}, sha256) if sha256 else 0


def delete_expired() -> int:
    """Delete the answers whose trash period is over; return their number."""
    before = now() - timedelta(days=conf().trash_days)
    expired = Analysis.everything.left_behind().filter(removed_at__lte=before)
    return _delete(Q(pk__in=list(expired.order_by("removed_at").values_list("pk", flat=True)[:_AT_ONCE])))


def _forget(own: Q, hashes: set[str], fingerprint: str) -> int:
    kept = _kept(hashes, fingerprint)
    sent = Analysis.everything.filter(kept).values_list("sha256", flat=True)
    for sha256 in hashes | set(sent):
        s3_copies.doubt(sha256)
    return _delete(own | kept)


def _kept(hashes: set[str], fingerprint: str) -> Q:
    """Match answers by the bytes sent or by the original: other settings give the proxy other bytes."""
    return Q(file=None) & (Q(sha256__in=hashes) | Q(source_fingerprint=fingerprint))


def _delete(condition: Q) -> int:
    for row in Analysis.everything.started().filter(condition).defer("raw", "result"):
        budgets.settle(row, row.cost)  # in flight, so it may be billed
    _, counts = Analysis.everything.filter(condition).delete()
    return counts.get(Analysis._meta.label, 0)
