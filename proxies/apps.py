from django.apps import AppConfig
from django.db.models.signals import post_migrate
from django.utils.translation import gettext_lazy as _


class ProxiesConfig(AppConfig):
    name = "proxies"
    verbose_name = _("Proxies")

    def ready(self) -> None:
        # These modules register themselves: the checks, the operation, the receivers and the queue.
        from proxies import checks, image_operation, receivers  # noqa: F401
        from proxies.conf import conf
        from proxies.queue import broker

        conf()  # invalid profiles fail at startup instead of at the first request
        post_migrate.connect(broker.keep_schedule, sender=self)
