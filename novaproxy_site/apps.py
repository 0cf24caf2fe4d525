"""The app that composes the other three; none of them imports from it."""

from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class NovaProxyAdminConfig(AdminConfig):
    default_site = "novaproxy_site.admin_site.NovaProxyAdminSite"


class NovaProxySiteConfig(AppConfig):
    name = "novaproxy_site"
    verbose_name = "NovaProxy"

    def ready(self) -> None:
        from novaproxy_site import checks  # noqa: F401 (registers the checks)
