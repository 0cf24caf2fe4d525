from django.apps import AppConfig


class MediaFilesConfig(AppConfig):
    name = "media_files"
    verbose_name = "Originals"

    def ready(self) -> None:
        from media_files import checks, receivers  # noqa: F401
