"""Quarantine applies to a file and an operation: it does not affect other operations."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from analysis.options import parameters_of
from analysis.tests.wire import Service
from media_files.models import MediaFile
from media_files.tests.pictures import jpeg
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.runner import perform
from proxies.batches.selection import Selection
from proxies.models import Batch, Quarantine
from proxies.services import ImageProxyService

pytestmark = pytest.mark.django_db(transaction=True)

Keep = Callable[..., MediaFile]


def quarantine(file: MediaFile, operation: str) -> None:
    Quarantine.objects.create(
        source=file, operation=operation, fingerprint=file.fingerprint, message=f"{operation} failed."
    )


def planned(operation: str) -> dict[str, int]:
    parameters = parameters_of() if operation.startswith("analyze") else {}
    return dict(lifecycle.plan(operation, Selection(MediaFile.objects.all()), parameters).outcomes)


def start(operation: str) -> Batch:
    return lifecycle.start(
        operation, Selection(MediaFile.objects.all()), parameters_of(), executor=Batch.Executor.LOCAL
    )


def test_a_quarantined_analysis_does_not_affect_proxies_or_other_services(nova: Service, keep: Keep) -> None:
    file = keep()
    quarantine(file, "analyze-nova")
    assert planned("analyze-nova") == {"quarantined": 1}
    assert planned("analyze-rekognition") == {"created": 1}
    assert planned("image-proxy") == {"created": 1}
    assert ImageProxyService().create_proxy(file).outcome == "created"
    item = start("analyze-nova").items.get()
    assert (item.outcome, item.message) == ("quarantined", "analyze-nova failed.")


def test_a_quarantined_proxy_blocks_an_analysis_that_must_create_it(nova: Service, keep: Keep) -> None:
    large, small = keep(), keep(jpeg(300, 200))
    for file in (large, small):
        quarantine(file, "image-proxy")
    assert planned("analyze-nova") == {"quarantined": 1, "created": 1}
    item = start("analyze-nova").items.get(file=large)
    assert (item.outcome, item.message) == ("quarantined", "image-proxy failed.")


def test_retrying_failed_files_releases_the_quarantine_of_used_operations(nova: Service, keep: Keep) -> None:
    file = keep()
    for operation in ("image-proxy", "analyze-nova", "analyze-rekognition"):
        quarantine(file, operation)
    lifecycle.retry_failed(start("analyze-nova"))
    assert list(Quarantine.objects.values_list("operation", flat=True)) == ["analyze-rekognition"]


OLD_ROW = """
from django.db import connection
with connection.cursor() as cursor:
    cursor.execute("INSERT INTO proxies_quarantine (source_id, fingerprint, message, created_at) "
                   "SELECT id, fingerprint, 'thrice', created_at FROM media_files_mediafile")
"""


def test_a_quarantined_proxy_does_not_block_an_analysis_that_need_not_create_it(
    nova: Service, keep: Keep
) -> None:
    """The preview counts such files as work, since no proxy must be created."""
    quarantine(keep(jpeg(300, 200)), "image-proxy")
    large = keep(jpeg())
    ImageProxyService().create_proxy(large)
    quarantine(large, "image-proxy")
    assert planned("analyze-nova") == {"created": 2}
    batch = start("analyze-nova")
    perform(Claim(batch, lambda: False))
    assert list(batch.items.values_list("outcome", flat=True)) == ["created", "created"]
    assert nova.requests == 2


@pytest.mark.every_backend
def test_the_migration_assigns_old_quarantines_to_image_proxy(installation):
    installation.shell("""
        from django.core.files.base import ContentFile
        from media_files.models import MediaFile
        from proxies.tests.crashing import scan
        MediaFile.objects.create(file=ContentFile(scan(1), "1.tif"))
    """)
    installation.manage("migrate", "proxies", "0011", "--verbosity=0")
    installation.shell(OLD_ROW)
    installation.manage("migrate", "--verbosity=0")
    reported = installation.shell("from proxies.models import Quarantine; print(Quarantine.objects.get())")
    assert reported.startswith("image-proxy of file")
