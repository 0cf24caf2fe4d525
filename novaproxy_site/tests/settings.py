"""Settings for tests: the project's own, read from a clean environment.

The caller's environment must not reach a test: neither a real library's database nor a real bucket's
credentials. Set NOVAPROXY_TEST_DATABASE_URL to run the tests on a database other than SQLite.
"""

import atexit
import os
import shutil
import tempfile

from novaproxy_site.tests.environment import clean_environment

_data = tempfile.mkdtemp(prefix="novaproxy-tests-")
atexit.register(shutil.rmtree, _data, ignore_errors=True)

_database = os.environ.get("NOVAPROXY_TEST_DATABASE_URL", f"sqlite:///{_data}/novaproxy.sqlite3")
_clean = clean_environment(os.environ) | {"NOVAPROXY_DATA_DIR": _data, "DATABASE_URL": _database}
for _name in set(os.environ) - set(_clean):
    del os.environ[_name]
os.environ.update(_clean)

from novaproxy_site.settings import *  # noqa: E402, F403

# The heartbeat thread's own connection could not see a test's transaction.
HEARTBEAT = False
# Django's default hasher takes 0.3 s per user, by design.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
