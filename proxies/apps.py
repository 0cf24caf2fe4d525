from django.apps import AppConfig
from django.db.models.signals import post_migrate


class ProxiesConfig(AppConfig):
    name = "proxies"
    verbose_name = "Proxies"

    def ready(self) -> None:
        # The operation registers itself, and the queue's bell is hung.
        from proxies import checks, image_operation, receivers, tasks  # noqa: F401
        from proxies.conf import conf

        conf()  # profiles that cannot be end the start, and not the first request
        post_migrate.connect(tasks.keep_schedule, sender=self)
