"""The admin under the product's own name."""

from django.contrib.admin import AdminSite


class NovaProxyAdminSite(AdminSite):
    site_header = "NovaProxy"
    site_title = "NovaProxy"
    index_title = "Library"
