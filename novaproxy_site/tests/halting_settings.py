"""Settings for workers that halt at points chosen by a test (`proxies.tests.halting`)."""

from novaproxy_site.settings import *  # noqa: F403
from proxies.tests.halting import watch

watch()
