"""Every setting of NovaProxy, read once from the environment (and a `.env` beside `manage.py`).

docs/settings.md lists every variable; a test compares the two.
"""

from __future__ import annotations

import secrets
import tempfile
import zoneinfo
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.core.exceptions import ImproperlyConfigured
from dotenv import load_dotenv
from environs import Env, ValidationError, validate

from novaproxy_site import __version__

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()


def _variables_file(given: str) -> Path:
    """Return the file that may hold the other variables; a file named explicitly must exist."""
    path = Path(given) if given else BASE_DIR / ".env"
    if given and (path.is_dir() or not path.exists()):
        raise ImproperlyConfigured(
            f"NOVAPROXY_ENV_FILE names {given}, and no such file is there. Name one that is, or unset it."
        )
    return path


# Load it before any other variable is read, and into the environment, where boto3 looks for credentials.
load_dotenv(_variables_file(env.str("NOVAPROXY_ENV_FILE", "")))

# -- Database and storages ---------------------------------------------------------------------

DATA_DIR = env.path("NOVAPROXY_DATA_DIR", BASE_DIR / "var").resolve()
MEDIA_ROOT = DATA_DIR / "media"


def _database(url: str) -> dict[str, Any]:
    """Return Django's configuration for ``url``, with the options that the ledger relies on."""
    config: dict[str, Any] = env.dj_db_url("DATABASE_URL", url)
    config["CONN_MAX_AGE"] = None
    config["CONN_HEALTH_CHECKS"] = True
    if config["ENGINE"] == "django.db.backends.sqlite3":
        # IMMEDIATE: a transaction takes its write lock at the start, where SQLite can wait for it; taken
        # later it fails at once. WAL: readers never wait for the writer. NORMAL: with WAL a power cut may
        # lose the last commits but never corrupts the file, and the ledger redoes the lost work.
        config["OPTIONS"] = {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA busy_timeout=20000;",
        }
        # An in-memory test database cannot be shared with the processes that tests start.
        config["TEST"] = {
            "NAME": str(Path(tempfile.gettempdir()) / f"novaproxy-test-{secrets.token_hex(4)}.sqlite3")
        }
    elif config["ENGINE"] == "django.db.backends.postgresql":
        # The statements of a plan are long but fast: JIT compilation costs several times what it saves.
        # Options in DATABASE_URL replace this one.
        config.setdefault("OPTIONS", {}).setdefault("options", "-c jit=off")
    return config


DATABASES = {"default": _database(f"sqlite:///{quote(str(DATA_DIR / 'novaproxy.sqlite3'))}")}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"


def _bucket(alias: str) -> dict[str, Any] | None:
    """Return the bucket configured for a storage alias, or None."""
    with env.prefixed(f"NOVAPROXY_{alias.upper()}_"):
        bucket = env.str("BUCKET", "")
        options = {
            "bucket_name": bucket,
            "location": env.str("PREFIX", ""),
            "region_name": env.str("REGION", "") or None,
            "endpoint_url": env.str("ENDPOINT", "") or None,
        }
    return {"BACKEND": "media_files.storage.s3.BucketStorage", "OPTIONS": options} if bucket else None


def _storage(alias: str) -> dict[str, Any]:
    """Return the folder or bucket configured for a storage alias."""
    folder = env.path(f"NOVAPROXY_{alias.upper()}_FOLDER", MEDIA_ROOT).resolve()
    local = {"BACKEND": "media_files.storage.local.LocalStorage", "OPTIONS": {"location": str(folder)}}
    return _bucket(alias) or local


STORAGES = {
    "originals": _storage("originals"),
    "proxies": _storage("proxies"),
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STORAGES["default"] = STORAGES["originals"]
# Holds copies of local files for services that read from S3; absent unless a bucket is configured.
if copies := _bucket("analysis"):
    STORAGES["analysis"] = copies

# -- Security and access -----------------------------------------------------------------------

DEBUG = env.bool("DEBUG", True)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
# Off when the site is served over plain HTTP, for example by `make run` on this machine.
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = env.bool("SECURE_COOKIES", not DEBUG)


NOVAPROXY_API_RATE = env.str(
    "NOVAPROXY_API_RATE",
    "",
    validate=validate.Regexp(
        r"^([1-9]\d*/(second|minute|hour|day))?$",
        error="not a rate of at least 1, such as 600/minute (or second, hour, day)",
    ),
)
# Where the documentation site (`make docs`) is hosted. The admin's pages link to it.
NOVAPROXY_DOCS_URL = env.str(
    "NOVAPROXY_DOCS_URL",
    "",
    validate=validate.Regexp(r"^(https?://\S+)?$", error="not an address such as https://docs.example.org"),
)


def _secret_key(given: str) -> str:
    """Return the given key; with DEBUG on, fall back to one generated once and stored with the data."""
    if given:
        return given
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set, and DEBUG is off. Set SECRET_KEY to a long random string, the same on "
            "every machine of this installation: sessions and queued tasks are signed with it."
        )
    try:
        DATA_DIR.mkdir(parents=True, exist_ok=True)
        return _kept_secret(DATA_DIR / "secret_key")
    except OSError as error:
        raise ImproperlyConfigured(
            f"NOVAPROXY_DATA_DIR is {DATA_DIR}, which cannot hold the data: {error.strerror}. Name a folder "
            "that this user may write to, or may make."
        ) from error


def _kept_secret(path: Path) -> str:
    try:
        with path.open("x") as file:
            path.chmod(0o600)
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass  # an earlier start created it
    return path.read_text()


SECRET_KEY = _secret_key(env.str("SECRET_KEY", ""))

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]

# -- Proxies -----------------------------------------------------------------------------------

NOVAPROXY_TARGET = env.int("NOVAPROXY_TARGET", 896, validate=validate.Range(min=1, max=65_535))
NOVAPROXY_LONGEST_SIDE = env.int("NOVAPROXY_LONGEST_SIDE", 8000, validate=validate.Range(min=1, max=65_535))
NOVAPROXY_QUALITY = env.int("NOVAPROXY_QUALITY", 85, validate=validate.Range(min=1, max=95))
NOVAPROXY_MAX_PIXELS = env.int("NOVAPROXY_MAX_PIXELS", 250_000_000, validate=validate.Range(min=1))
NOVAPROXY_MAX_UPLOAD = env.int("NOVAPROXY_MAX_UPLOAD", 1024 * 1024 * 1024, validate=validate.Range(min=1))


def _takes_a_process(megabytes: int) -> None:
    # A process takes 90 MB without a picture, plus freed memory that it keeps.
    if megabytes and megabytes < 200:
        raise ValidationError("no process does with less than 200 MB; 0 is for no limit")


# Megabytes for each process that decodes: what a WebP of the maximum size needs, plus a margin. Other formats
# need a third of it (docs/formats.md).
NOVAPROXY_MAX_MEMORY = env.int("NOVAPROXY_MAX_MEMORY", 4608, validate=_takes_a_process)
NOVAPROXY_ON_SAVE = env.str("NOVAPROXY_ON_SAVE", "queue", validate=validate.OneOf(["queue", "inline", "off"]))
NOVAPROXY_RESIZER = env.str("NOVAPROXY_RESIZER", "auto", validate=validate.OneOf(["auto", "pillow"]))
# Additional profiles by name, for example {"small": {"shorter_side": 512, "longest_side": 4000}}.
NOVAPROXY_PROFILES: Any = env.json("NOVAPROXY_PROFILES", {})

# -- Analysis ----------------------------------------------------------------------------------

# Region of the services and of the analysis bucket; empty for the default of the AWS configuration chain.
NOVAPROXY_ANALYSIS_REGION = env.str("NOVAPROXY_ANALYSIS_REGION", "")
NOVAPROXY_ANALYSIS_SEND = env.str(
    "NOVAPROXY_ANALYSIS_SEND", "auto", validate=validate.OneOf(["auto", "bytes"])
)
NOVAPROXY_ANALYSIS_MODEL = env.str("NOVAPROXY_ANALYSIS_MODEL", "us.amazon.nova-2-lite-v1:0")
NOVAPROXY_ANALYSIS_MAX_TOKENS = env.int(
    "NOVAPROXY_ANALYSIS_MAX_TOKENS", 2000, validate=validate.Range(min=1, max=64_000)
)
NOVAPROXY_ANALYSIS_TEMPERATURE = env.float(
    "NOVAPROXY_ANALYSIS_TEMPERATURE", 0.0, validate=validate.Range(min=0, max=1)
)
NOVAPROXY_ANALYSIS_REASONING = env.str(
    "NOVAPROXY_ANALYSIS_REASONING", "off", validate=validate.OneOf(["off", "low", "medium", "high"])
)
NOVAPROXY_ANALYSIS_SERVICE_TIER = env.str(
    "NOVAPROXY_ANALYSIS_SERVICE_TIER",
    "",
    validate=validate.OneOf(["", "default", "flex", "priority", "reserved"]),
)
# Seconds to wait for one answer. A call that outlasts the queue's task timeout is lost with the task.
NOVAPROXY_ANALYSIS_TIMEOUT = env.int("NOVAPROXY_ANALYSIS_TIMEOUT", 90, validate=validate.Range(min=1))
NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT = env.int(
    "NOVAPROXY_ANALYSIS_CALLS_IN_FLIGHT", 32, validate=validate.Range(min=1, max=1000)
)
NOVAPROXY_ANALYSIS_CALLS_PER_SECOND = env.float(
    "NOVAPROXY_ANALYSIS_CALLS_PER_SECOND", 10.0, validate=validate.Range(min=0.01, max=10_000)
)
NOVAPROXY_ANALYSIS_BUDGET = env.decimal(
    "NOVAPROXY_ANALYSIS_BUDGET", Decimal(0), validate=validate.Range(min=0)
)
# Limit per day (UTC) for single requests, which belong to no batch.
NOVAPROXY_ANALYSIS_DAILY_BUDGET = env.decimal(
    "NOVAPROXY_ANALYSIS_DAILY_BUDGET", Decimal(0), validate=validate.Range(min=0)
)
NOVAPROXY_ANALYSIS_FEATURES: list[str] = env.list("NOVAPROXY_ANALYSIS_FEATURES", ["labels", "text"])
NOVAPROXY_ANALYSIS_CUSTOM_MODELS: list[str] = env.list("NOVAPROXY_ANALYSIS_CUSTOM_MODELS", [])
# Faces and celebrities: laws on biometric data may require consent, or forbid it.
NOVAPROXY_ANALYSIS_BIOMETRICS = env.bool("NOVAPROXY_ANALYSIS_BIOMETRICS", False)
NOVAPROXY_ANALYSIS_MIN_CONFIDENCE = env.float(
    "NOVAPROXY_ANALYSIS_MIN_CONFIDENCE", 50.0, validate=validate.Range(min=0, max=100)
)
# Days to keep billed answers after their file is deleted; 0 deletes them with the file.
NOVAPROXY_TRASH_DAYS = env.int("NOVAPROXY_TRASH_DAYS", 30, validate=validate.Range(min=0, max=36_500))

# -- The queue ---------------------------------------------------------------------------------

NOVAPROXY_WORKERS = env.int("NOVAPROXY_WORKERS", 2, validate=validate.Range(min=1))
NOVAPROXY_BROKER = env.str(
    "NOVAPROXY_BROKER",
    "orm",
    validate=validate.Regexp(
        r"^(orm|rediss?://.+)$", error="neither orm nor an address as redis://host:6379/0"
    ),
)


def _patient(url: str) -> str:
    """Add timeouts to a Redis URL: without them, a call to an unreachable server waits forever."""
    if "socket_timeout" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}socket_timeout=10&socket_connect_timeout=5"


# These values are explained in docs/architecture.md, "The queue's times". The system check proxies.E002
# rejects values that would redeliver a task while a worker is still processing it.
Q_CLUSTER: dict[str, Any] = {
    "name": "novaproxy",
    "workers": NOVAPROXY_WORKERS,
    "timeout": 120,
    "retry": 600,
    "queue_limit": NOVAPROXY_WORKERS,
    "bulk": 1,
    "ack_failures": True,
    "max_attempts": 3,
    "save_limit": 50,
    "poll": 0.2,
    "guard_cycle": 0.5,
    "catch_up": False,
    "recycle": 500,
    "label": "Queue",
    "log_level": "WARNING",
} | ({"orm": "default"} if NOVAPROXY_BROKER == "orm" else {"redis": _patient(NOVAPROXY_BROKER)})

# Whether processes that hold leases write a heartbeat (`proxies.processes.heartbeat`).
HEARTBEAT = True

# -- Django ------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "novaproxy_site.apps.NovaProxyAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django_q",
    "rest_framework",
    "rest_framework.authtoken",
    "django_filters",
    "drf_spectacular",
    "media_files",
    "proxies",
    "analysis",
    "novaproxy_site.apps.NovaProxySiteConfig",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "novaproxy_site.middleware.PageLanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "novaproxy_site.urls"
WSGI_APPLICATION = "novaproxy_site.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

LANGUAGE_CODE = "en-gb"
LANGUAGES = [("en-gb", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
FORMAT_MODULE_PATH = "novaproxy_site.formats"
USE_TZ = True
TIME_ZONE = env.str(
    "TIME_ZONE",
    "UTC",
    validate=validate.OneOf(zoneinfo.available_timezones(), error="no time zone, as UTC or Europe/Paris"),
)

STATIC_URL = "static/"
STATIC_ROOT = DATA_DIR / "static"
with suppress(OSError):  # the system check media_files.E002 reports an unwritable folder
    STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # WhiteNoise warns if it is missing
WHITENOISE_USE_FINDERS = True  # the embedded server needs no collectstatic

APPEND_SLASH = False  # API addresses have no trailing slash; both forms are routed
LOGIN_URL = "admin:login"

# Larger uploads stream to disk, which keeps memory use small.
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_PERMISSIONS = 0o644

REST_FRAMEWORK = {
    # Tokens first: the first class sends the challenge, so a missing login gets 401 instead of 403.
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "rest_framework.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["media_files.api.throttling.CallerRate"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": [
        "media_files.api.parsers.JSONParser",
        "media_files.api.parsers.JSONInFormParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_SCHEMA_CLASS": "media_files.api.schema.Schema",
    "EXCEPTION_HANDLER": "media_files.api.errors.exception_handler",
    "URL_FORMAT_OVERRIDE": None,  # ?format= filters files by their image format
}

SPECTACULAR_SETTINGS = {
    "TITLE": "NovaProxy",
    "DESCRIPTION": "Photographs in, image proxies for models out.",
    "VERSION": __version__,
    "SERVE_PERMISSIONS": ["rest_framework.permissions.IsAuthenticated"],
    "PREPROCESSING_HOOKS": ["novaproxy_site.api.without_trailing_slash"],
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "FileTypeEnum": "media_files.models.MediaFile.FileType",
        "BatchStateEnum": "proxies.models.Batch.State",
        "ItemStateEnum": "proxies.models.BatchItem.State",
        "ProxyStateEnum": "proxies.api.proxies.PROXY_STATES",
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
    "loggers": {
        "django-q": {"level": "WARNING"},
        # At INFO it logs at each start where it found credentials.
        "botocore": {"level": "WARNING"},
        # Drop Django's own handler: together with ours it would log everything twice.
        "django": {"handlers": [], "propagate": True},
    },
}

# All variables read above, for the system check that finds misspelt ones.
NOVAPROXY_VARIABLES = frozenset(env.dump())
