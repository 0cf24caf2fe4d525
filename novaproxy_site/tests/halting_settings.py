"""An installation's settings, for workers that halt where a test wants them (`proxies.tests.halting`)."""

from novaproxy_site.settings import *  # noqa: F403
from proxies.tests.halting import watch

watch()
