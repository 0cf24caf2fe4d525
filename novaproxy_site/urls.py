"""All URLs of the site."""

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView

from novaproxy_site.api import NoSuchAddressView, router
from novaproxy_site.readiness import readyz
from novaproxy_site.views import healthz

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("healthz", healthz, name="healthz"),
    path("readyz", readyz, name="readyz"),
    path("admin", RedirectView.as_view(pattern_name="admin:index")),  # often typed without the slash
    path("admin/", admin.site.urls),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    path("api", router.get_api_root_view(), name="api"),
    path("api/", include(router.urls)),
    re_path(r"^api/", NoSuchAddressView.as_view()),
]
