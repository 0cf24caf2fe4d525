"""Rate limit: excess requests get 429 with Retry-After; without a limit none do."""

from __future__ import annotations

import pytest
from django.core.cache import cache

from novaproxy_site.tests.api_client import EVERY_PERMISSION, api_with

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _nothing_asked_yet():
    cache.clear()
    yield
    cache.clear()


@pytest.mark.parametrize(("rate", "statuses"), [("2/hour", [200, 200, 429]), ("", [200, 200, 200])])
def test_rate(settings, rate, statuses):
    settings.NOVAPROXY_API_RATE = rate
    api = api_with(*EVERY_PERMISSION)
    answers = [api.get("/api/files") for _ in statuses]
    assert [answer.status_code for answer in answers] == statuses
    if 429 in statuses:
        assert int(answers[-1].headers["Retry-After"]) > 0
