"""Removing the files of proxies that no row names any more."""

from __future__ import annotations

import logging
from functools import partial

from django.db import transaction

from media_files.errors import MediaError
from proxies import leases
from proxies.models import DiscardedProxy, Proxy, proxies_storage

logger = logging.getLogger(__name__)


def discard_proxy_file(source_id: int, profile: str, name: str | None) -> None:
    """Have a proxy's file removed once the current transaction has been committed."""
    if not name:
        return
    discarded = DiscardedProxy.objects.create(source_id=source_id, profile=profile, name=name)
    transaction.on_commit(partial(remove, discarded))


def remove(discarded: DiscardedProxy) -> bool:
    """Remove the file and its note, under the lease that guards the name.

    False where that cannot be done now (somebody writes the name at this moment, the storage does not
    answer); the note stays for the sweeper. A name that a row bears again keeps its file.
    """
    source_id, profile, name = discarded.source_id, discarded.profile, discarded.name
    token = leases.acquire(source_id, profile)
    if token is None:
        return False
    try:
        if not Proxy.objects.filter(image=name).exists():
            proxies_storage().delete(name)
        discarded.delete()
    except MediaError as error:
        logger.warning("Could not remove %s yet; the sweeper tries again: %s", name, error)
        return False
    finally:
        leases.release(source_id, profile, token)
    return True


def remove_left_over() -> int:
    """Remove the proxies' files whose removal was cut short; return how many went."""
    return sum(remove(discarded) for discarded in DiscardedProxy.objects.order_by("id")[:1000])
