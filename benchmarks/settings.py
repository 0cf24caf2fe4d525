"""NovaProxy's settings with the four other libraries installed beside it."""

from novaproxy_site.settings import *  # noqa: F403
from novaproxy_site.settings import DATA_DIR, INSTALLED_APPS, STORAGES

INSTALLED_APPS = [*INSTALLED_APPS, "easy_thumbnails", "sorl.thumbnail", "imagekit", "pictures"]

# Theirs: Django's own storage, which makes nothing durable.
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
# Their answers are kept in the database, as ours are.
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
THUMBNAIL_DEFAULT_STORAGE = "django.core.files.storage.FileSystemStorage"
IMAGEKIT_DEFAULT_CACHEFILE_BACKEND = "imagekit.cachefiles.backends.Simple"
PICTURES = {"USE_PLACEHOLDERS": False}
SILENCED_SYSTEM_CHECKS = ["fields.W342"]
