"""Signal receivers for changes to originals and proxies."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from django.db import connection, transaction
from django.db.models.signals import post_save, pre_delete
from django.dispatch import receiver

from media_files.errors import MediaError
from media_files.models import MediaFile
from proxies.batches.lifecycle import add_to_uploads, note_failure
from proxies.cleanup import discard_proxy_file
from proxies.conf import conf
from proxies.models import Proxy
from proxies.queries import is_decoded
from proxies.render_job import is_kept, reasons_of
from proxies.services import create_image_proxy_internal
from proxies.signals import proxy_lost

logger = logging.getLogger(__name__)


@receiver(post_save, sender=MediaFile)
def make_proxy_on_save(instance: MediaFile, raw: bool, **kwargs: Any) -> None:
    """Get the proxy of a saved original made if one is needed; get the original decoded if none is."""
    mode = conf().on_save
    if raw or mode == "off" or not _lacks_proxy(instance):
        return
    if mode == "queue":
        add_to_uploads(instance.pk, reasons_of(instance, conf().nova))
    else:
        transaction.on_commit(partial(_make_now, instance.pk), robust=True)


@receiver(proxy_lost)
def make_lost_proxy_again(source_id: int, profile: str, **kwargs: Any) -> None:
    """Enqueue an image whose proxy an interrupted write destroyed, in the transaction that found it."""
    source = MediaFile.objects.filter(pk=source_id).first()
    if source is not None and profile == conf().nova.name and _lacks_proxy(source):
        add_to_uploads(source_id, reasons_of(source, conf().nova))


@receiver(pre_delete, sender=MediaFile)
def lock_before_its_proxies(instance: MediaFile, **kwargs: Any) -> None:
    _lock_original(instance.pk)


@receiver(pre_delete, sender=Proxy)
def discard_file(instance: Proxy, **kwargs: Any) -> None:
    """Delete the file that the row refers to now: it may have been made again since the row was read."""
    _lock_original(instance.source_id)
    today = Proxy.objects.select_for_update().filter(pk=instance.pk).first()
    if today is not None:
        discard_proxy_file(today.source_id, today.profile, today.image.name)


def _lacks_proxy(source: MediaFile) -> bool:
    """Return whether the file lacks what a worker makes of it: a proxy, or the proof that it needs none."""
    profile = conf().nova
    if source.file_type != MediaFile.FileType.IMAGE:
        return False
    proxy = Proxy.objects.filter(source=source, profile=profile.name).first()
    if source.facts is not None and not reasons_of(source, profile):
        if proxy is not None and not is_kept(proxy, source.fingerprint):
            return True  # it must be deleted
        return not MediaFile.objects.filter(is_decoded(), pk=source.pk).exists()
    return proxy is None or not proxy.is_current(source, profile)


def _make_now(source_id: int) -> None:
    """Make the proxy now; a failure never fails the save."""
    try:
        create_image_proxy_internal(source_id)
    except MediaError as error:
        logger.warning("No proxy of file %s: %s", source_id, error)
        source = MediaFile.objects.filter(pk=source_id).first()
        note_failure(source_id, error, reasons_of(source, conf().nova) if source else [])


def _lock_original(source_id: int) -> None:
    """Lock an original before the rows that refer to it are deleted, as recording a proxy does.

    In the other order, a deletion and the recording of a proxy could deadlock.
    """
    if connection.features.has_select_for_update:
        MediaFile.objects.select_for_update().filter(pk=source_id).values_list("pk").first()
