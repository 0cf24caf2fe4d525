"""PostgreSQL only: full-text search, using its index."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from analysis.tests.libraries import fill, lead
from analysis.tests.model_answers import nova
from analysis.tests.wire import Bedrock, served
from novaproxy_site.tests.installation import Installation

pytestmark = pytest.mark.postgres

SEARCH = """
    import json
    from analysis.models import Analysis
    from analysis.queries import matching_text, with_label
    from django.db import connection
    from media_files.models import MediaFile
    found = {words: MediaFile.objects.filter(matching_text(words)).count() for words in
             ("lighthouse", "LIGHTHOUSE rock", "light", "keep out", "dog", "a & | ! <-> '", "")}
    found["label"] = MediaFile.objects.filter(with_label("Tower")).count()
    one = Analysis.objects.order_by("id").first()
    values = {f.attname: getattr(one, f.attname) for f in Analysis._meta.fields if f.attname != "id"}
    Analysis.objects.bulk_create(
        Analysis(**values | {"search_text": f"picture number{number}"}) for number in range(5000)
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    found["plan"] = MediaFile.objects.filter(matching_text("number4711")).explain()
    print(json.dumps(found))
"""


def test_a_run_and_a_search_on_postgresql(install: Callable[..., Installation]) -> None:
    installation = install("postgres")
    with served(Bedrock("bedrock-runtime", nova)) as service:
        lead(installation, service, NOVAPROXY_ANALYSIS_CALLS_PER_SECOND="100")
        fill(installation, 6)
        run = installation.manage("analyze_images", "--no-dry-run", "--json", "--workers", "2")
        assert json.loads(run.stdout.splitlines()[-1])["totals"]["created"] == 6
        assert len(service.paid) == 6
    found = json.loads(installation.shell(SEARCH))
    plan = found.pop("plan")
    assert found == {
        "lighthouse": 6, "LIGHTHOUSE rock": 6, "light": 0, "keep out": 6, "dog": 0,
        "a & | ! <-> '": 6, "": 0, "label": 6,
    }  # fmt: skip
    assert "analysis_words" in plan
