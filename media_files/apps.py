from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MediaFilesConfig(AppConfig):
    name = "media_files"
    verbose_name = _("Originals")

    def ready(self) -> None:
        from media_files import checks, receivers  # noqa: F401
