"""The link from each admin page to the documentation."""

from __future__ import annotations

from typing import Any, Final

from django import template
from django.conf import settings

register = template.Library()

# The page of docs/ without its suffix, and the anchor of a heading: by model, or by app for the app's other
# models. Everything else links to the start page.
PAGES: Final = {
    "media_files.mediafile": "admin#files",
    "proxies": "admin",
    "proxies.batch": "admin#batches",
    "proxies.batchitem": "admin#batches",
    "proxies.quarantine": "admin#when-something-fails",
    "proxies.workerstate": "scaling#several-machines",
    "analysis": "analysis",
    "authtoken": "api#tokens",
}


@register.simple_tag
def documentation_url(opts: Any, app_label: str) -> str:
    """Return the address of the page that explains this part of the admin; empty if no site is configured.

    Args:
        opts: the model's ``_meta``, or an empty string on pages that show no single model.
        app_label: of the page of an app, or an empty string.
    """
    if not settings.NOVAPROXY_DOCS_URL:
        return ""
    found = PAGES.get(opts.label_lower) if opts else None
    found = found or PAGES.get(opts.app_label if opts else app_label, "index")
    page, _, anchor = found.partition("#")
    return f"{settings.NOVAPROXY_DOCS_URL.rstrip('/')}/{page}.html{'#' if anchor else ''}{anchor}"
