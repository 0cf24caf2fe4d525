"""Fixtures shared by the tests of all apps."""

from typing import Any

import pytest
from django.utils.timezone import now

from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401
from novaproxy_site.tests.api_fixtures import api, batch, library  # noqa: F401
from proxies.conf import conf
from proxies.models import WorkerState


@pytest.fixture(autouse=True)
def _static_files_are_looked_up_when_asked_for(settings: Any) -> None:
    """Keep each test's client from scanning all static files, which takes longer than most requests."""
    settings.WHITENOISE_AUTOREFRESH = True


@pytest.fixture
def worker(db: None) -> WorkerState:
    """Return a worker with a heartbeat from just now."""
    return WorkerState.objects.create(
        host="left",
        pid=1,
        processes=2,
        started_at=now(),
        beat_at=now(),
        state="running",
        recipes={name: profile.recipe for name, profile in conf().profiles.items()},
    )
