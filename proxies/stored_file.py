"""Check that a proxy's stored file is the one that its row records."""

from __future__ import annotations

import logging

from media_files.errors import MediaError, SourceMissing
from proxies.models import Proxy, proxies_storage

logger = logging.getLogger(__name__)


def is_intact(proxy: Proxy) -> bool:
    """Return whether the proxy's file is stored with its size and ETag, by one lookup without reading it.

    Raises:
        StorageError: the storage does not respond.
    """
    try:
        proxies_storage().check_stored(
            str(proxy.image.name), size=proxy.bytes, sha256=proxy.sha256, etag=proxy.etag
        )
    except SourceMissing as error:
        mark_damaged(proxy, error)
        return False
    return True


def mark_damaged(proxy: Proxy, error: MediaError) -> None:
    """Mark a proxy whose file is missing or damaged as outdated, so that it is made again.

    A proxy that was made again meanwhile is not changed.
    """
    logger.warning("The proxy of file %s must be made again: %s", proxy.source_id, error)
    written = Proxy.objects.filter(pk=proxy.pk, created_at=proxy.created_at, sha256=proxy.sha256)
    written.filter(etag=proxy.etag).update(recipe="")
