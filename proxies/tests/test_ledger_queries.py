"""The ledger's frequent queries use an index, so that their cost does not grow with its size."""

from __future__ import annotations

import json

import pytest
from django.core.files.base import ContentFile
from django.db import connection
from django.test.utils import CaptureQueriesContext

from media_files.models import MediaFile
from novaproxy_site.tests.installation import Installation
from proxies.batches import lifecycle, runner
from proxies.batches.claim import CLAIM, Claim
from proxies.batches.selection import Selection
from proxies.models import Batch
from proxies.tests.crashing import photo


@pytest.mark.every_backend
def test_nothing_scans_a_whole_table(installation: Installation) -> None:
    printed = installation.shell("""
        import json
        from proxies.tests.explaining import all_scans
        print(json.dumps(all_scans()))
    """)
    assert {act: scans for act, scans in json.loads(printed).items() if scans} == {}


@pytest.mark.every_backend
def test_claims_use_their_own_index_whatever_the_statistics(installation: Installation) -> None:
    printed = installation.shell("""
        import json
        from proxies.tests.explaining import stray_claims
        print(json.dumps(stray_claims()))
    """)
    assert {moment: stray for moment, stray in json.loads(printed).items() if stray} == {}


@pytest.mark.django_db(transaction=True)
def test_statements_per_proxy_do_not_grow_with_the_batch(settings, tmp_path) -> None:
    settings.NOVAPROXY_ON_SAVE = "off"

    def statements_for(count: int) -> int:
        first = MediaFile.objects.count()
        for seed in range(first, first + count):
            MediaFile.objects.create(file=ContentFile(photo(seed), f"{seed}.jpg"))
        newest = MediaFile.objects.order_by("-id")[:count].values("pk")
        batch = lifecycle.start(
            "image-proxy",
            Selection(MediaFile.objects.filter(pk__in=newest)),
            {},
            executor=Batch.Executor.LOCAL,
        )
        with CaptureQueriesContext(connection) as captured:
            runner.perform(Claim(batch, lambda: False))
        return len(captured)

    few, many = statements_for(CLAIM), statements_for(3 * CLAIM)
    each = (many - few) / (2 * CLAIM)
    assert each <= 18, f"{each} statements for each proxy"
