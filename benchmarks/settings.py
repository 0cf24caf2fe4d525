"""NovaProxy's settings, plus the four other libraries."""

from novaproxy_site.settings import *  # noqa: F403
from novaproxy_site.settings import DATA_DIR, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "easy_thumbnails", "sorl.thumbnail", "imagekit", "pictures"]

# The peers use Django's own storage, which makes nothing durable.
PEERS_FOLDER = DATA_DIR / "peers"
MEDIA_ROOT = PEERS_FOLDER
STORAGES = STORAGES | {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(PEERS_FOLDER)},
    },
    "easy_thumbnails": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(PEERS_FOLDER)},
    },
}
MEDIA_URL = "/media/"
# The peers record their results in the database, as we do.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
THUMBNAIL_DEFAULT_STORAGE = "django.core.files.storage.FileSystemStorage"
IMAGEKIT_DEFAULT_CACHEFILE_BACKEND = "imagekit.cachefiles.backends.Simple"
PICTURES = {"USE_PLACEHOLDERS": False}
SILENCED_SYSTEM_CHECKS = ["fields.W342"]
