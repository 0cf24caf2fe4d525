"""The fixtures that the tests of all apps share."""

from typing import Any

import pytest

from media_files.tests.fixtures import add, everything, folders, inline, off  # noqa: F401
from novaproxy_site.tests.api_fixtures import api, batch, library  # noqa: F401


@pytest.fixture(autouse=True)
def _static_files_are_looked_up_when_asked_for(settings: Any) -> None:
    """Not searched for anew by each test's client, which takes longer than most requests."""
    settings.WHITENOISE_AUTOREFRESH = True
