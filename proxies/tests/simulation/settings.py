"""The settings of the simulation: the project's own, with a temporary database file and storages."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from novaproxy_site.tests.environment import clean_environment

_shared_memory = Path("/dev/shm")  # noqa: S108 - memory, if available
FOLDER = Path(
    tempfile.mkdtemp(prefix="novaproxy-simulation-", dir=_shared_memory if _shared_memory.is_dir() else None)
)
_database = os.environ.get("NOVAPROXY_TEST_SIMULATION_DATABASE") or f"sqlite:///{FOLDER / 'run.sqlite3'}"
_clean = clean_environment(os.environ) | {
    "NOVAPROXY_DATA_DIR": str(FOLDER),
    "DATABASE_URL": _database,
    "NOVAPROXY_MAX_MEMORY": "0",
    "NOVAPROXY_WORKERS": "1",
    "NOVAPROXY_ANALYSIS_REGION": "us-east-1",
    "NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT": "3",
    "NOVAPROXY_RESIZER": "pillow",
    "AWS_ACCESS_KEY_ID": "simulated",
    "AWS_SECRET_ACCESS_KEY": "simulated",
}
for _name in set(os.environ) - set(_clean):
    del os.environ[_name]
os.environ.update(_clean)

from novaproxy_site.settings import *  # noqa: E402, F403
from novaproxy_site.settings import DATABASES  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    # No waiting in SQLite itself: a process that finds the database locked lets others run, and retries.
    DATABASES["default"]["OPTIONS"] |= {
        "timeout": 0,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA busy_timeout=0;",
    }
_memory = "proxies.tests.simulation.storage.MemoryStorage"
STORAGES = {
    "originals": {"BACKEND": _memory, "OPTIONS": {"place": "originals"}},
    "proxies": {"BACKEND": _memory, "OPTIONS": {"place": "proxies"}},
    "archive": {"BACKEND": _memory, "OPTIONS": {"place": "archive"}},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STORAGES["default"] = STORAGES["originals"]
DEBUG = False
# Tables are created from the models, without migrations: 0.3 s instead of 4 s.
_migrated = "admin auth authtoken contenttypes sessions django_q media_files proxies analysis"
MIGRATION_MODULES = dict.fromkeys(_migrated.split())
LOGGING_CONFIG = None
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
