"""The settings that tests run under: the project's own, in an environment of the tests' making.

The caller's environment must not reach a test: not the database of a real library, nor the credentials of a
real bucket. NOVAPROXY_TEST_DATABASE_URL runs the tests on another database than SQLite.
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

# The connection of another thread would see nothing of a test's transaction.
HEARTBEAT = False
# Django's own takes 0.3 s a user, on purpose.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
