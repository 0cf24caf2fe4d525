"""The admin site under the product's name, with a front page that shows the current state of the work."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.translation import gettext_lazy as _

from analysis.readiness import readiness
from proxies.batches.progress import progress_of
from proxies.models import Batch, WorkerState

# The apps a librarian uses come first; users, tokens and the queue's internals follow.
_FIRST = ["media_files", "proxies", "analysis"]
# Maximum number of running batches on the front page; the batch list shows the rest.
_SHOWN = 5


class NovaProxyAdminSite(AdminSite):
    site_header = "NovaProxy"
    site_title = "NovaProxy"
    index_title = _("Library")

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = super().get_app_list(request, app_label)
        # The sort is stable: all other apps stay in alphabetical order.
        return sorted(
            apps,
            key=lambda app: _FIRST.index(app["app_label"]) if app["app_label"] in _FIRST else len(_FIRST),
        )

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """Show the front page: whether a worker is running, batch progress, and missing settings."""
        context = {**(extra_context or {}), "worker_missing": not WorkerState.objects.alive().exists()}
        if request.user.has_perm("proxies.view_batch"):
            working = Batch.objects.filter(standing=None, state__in=Batch.OPEN_STATES)[:_SHOWN]
            progress = [(batch, progress_of(batch)) for batch in working]
            # The batch of uploads is always open: show it only when something delays it.
            uploads = [(batch, progress_of(batch)) for batch in Batch.objects.exclude(standing=None)]
            context["working"] = [each for each in uploads if each[1].delays] + progress
        if request.user.has_perm("analysis.add_analysis"):
            context["models_missing"] = readiness.missing()
        return super().index(request, context)
