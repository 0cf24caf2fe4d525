"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from novaproxy_site.starting import require_utf8_file_names, wrong_settings_end_it
from proxies.processes.memory_guard import keep_freed_memory, watch_memory

# gunicorn's exit code for an application that cannot be loaded: the master gives up instead of restarting it.
_CANNOT_BE_LOADED = 4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
with wrong_settings_end_it(_CANNOT_BE_LOADED):
    require_utf8_file_names()
    application = get_wsgi_application()
# A request may render a proxy and needs as much memory as a worker.
keep_freed_memory()
watch_memory()
