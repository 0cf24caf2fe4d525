"""The admin under the product's own name, with what a person wants to know first on its front page."""

from __future__ import annotations

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest
from django.template.response import TemplateResponse

from analysis.readiness import readiness
from proxies.batches.progress import progress_of
from proxies.models import Batch, WorkerState

# What a librarian comes for, first; users, tokens and the queue's inside after them.
_FIRST = ["media_files", "proxies", "analysis"]
# Batches at work that the front page shows; the rest are a click away.
_SHOWN = 5


class NovaProxyAdminSite(AdminSite):
    site_header = "NovaProxy"
    site_title = "NovaProxy"
    index_title = "Library"

    def get_app_list(self, request: HttpRequest, app_label: str | None = None) -> list[Any]:
        apps = super().get_app_list(request, app_label)
        # Stable: within both halves the order stays that of their names.
        return sorted(
            apps,
            key=lambda app: _FIRST.index(app["app_label"]) if app["app_label"] in _FIRST else len(_FIRST),
        )

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> TemplateResponse:
        """The front page: whether the work goes on, how far it is, and what is still to be set."""
        context = {**(extra_context or {}), "worker_missing": not WorkerState.objects.alive().exists()}
        if request.user.has_perm("proxies.view_batch"):
            working = Batch.objects.filter(standing=None, state__in=Batch.OPEN_STATES)[:_SHOWN]
            progress = [(batch, progress_of(batch)) for batch in working]
            # The uploads are always at work: they are shown only where something keeps them from it.
            uploads = [(batch, progress_of(batch)) for batch in Batch.objects.exclude(standing=None)]
            context["working"] = [each for each in uploads if each[1].delays] + progress
        if request.user.has_perm("analysis.add_analysis"):
            context["models_missing"] = readiness.missing()
        return super().index(request, context)
