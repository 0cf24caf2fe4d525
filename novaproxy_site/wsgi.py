"""The WSGI application that gunicorn serves."""

import os

from django.core.wsgi import get_wsgi_application

from proxies.memory import keep_freed_memory, watch_memory

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "novaproxy_site.settings")
application = get_wsgi_application()
# A request may render, with the same memory as a worker.
keep_freed_memory()
watch_memory()
