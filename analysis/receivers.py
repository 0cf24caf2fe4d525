"""Signal receivers that keep copies and costs right when an original or a proxy changes."""

from __future__ import annotations

from typing import Any

from django.db.models.signals import post_delete, pre_delete, pre_save
from django.dispatch import receiver

from analysis import budgets, s3_copies
from analysis.conf import conf
from media_files.models import MediaFile
from proxies.models import Proxy


@receiver(post_delete, sender=MediaFile)
@receiver(post_delete, sender=Proxy)
def doubt_copies_of_deleted(instance: MediaFile | Proxy, **kwargs: Any) -> None:
    s3_copies.doubt(instance.sha256)


@receiver(pre_delete, sender=MediaFile)
def count_calls_in_flight(instance: MediaFile, **kwargs: Any) -> None:
    if not conf().trash_days:  # otherwise they outlive the file, and are counted when answered
        budgets.settle_deleted(instance)


@receiver(pre_save, sender=MediaFile)
@receiver(pre_save, sender=Proxy)
def doubt_copies_of_replaced(instance: MediaFile | Proxy, raw: bool, **kwargs: Any) -> None:
    if raw or instance.pk is None or not conf().bucket:
        return
    before = type(instance)._default_manager.filter(pk=instance.pk).values_list("sha256", flat=True).first()
    if before and before != instance.sha256:
        s3_copies.doubt(before)
