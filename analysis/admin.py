"""Admin for analyses: a mixin for files, the list of answers, and the detail page.

Model output is untrusted text: templates escape it, and nothing here marks it as safe.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import truncatechars
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from analysis import operation_pages  # noqa: F401 (registers them)
from analysis.erasure import forget
from analysis.models import Analysis
from analysis.queries import matching_text, with_label
from analysis.readiness import readiness
from analysis.results import kept
from media_files.admin import (
    AddedFilter,
    DeletesInPages,
    FileModelAdmin,
    MadeByTheMachine,
    TitledList,
    day_text,
)
from media_files.models import MediaFile
from proxies.admin.proxies import ShownByTemplate, badge, thumbnail
from proxies.models import Proxy
from proxies.queries import has_thumbnail

if TYPE_CHECKING:
    AnalysisModelAdmin = admin.ModelAdmin[Analysis]
else:
    AnalysisModelAdmin = admin.ModelAdmin

# Maximum caption length in a list, in characters.
_CAPTION: Final = 120
# Maximum length of a model's name in a list, in characters: some are as long as a sentence.
_MODEL: Final = 18
# Maximum number of answers listed on a file's page.
_LAST: Final = 10
# URL name of the page that asks for confirmation before a file is forgotten.
_FORGET: Final = "media_files_mediafile_forget"
# Kinds of boxes that can be drawn over a picture, by key in a result.
KINDS: Final = {"objects": _("Objects"), "text": _("Text")}


@dataclass(frozen=True, slots=True)
class Drawn:
    """A box drawn over the picture, in percent of its width and height."""

    name: str
    left: str
    top: str
    width: str
    height: str


@dataclass(frozen=True, slots=True)
class Layer:
    """All boxes of one kind, which can be hidden together."""

    key: str
    label: str
    boxes: list[Drawn]


class AnalysisFileAdminMixin(FileModelAdmin):
    """Show a file's analyses in the admin, and search files by their answers."""

    search_help_text = _(
        "Part of the name, the beginning of the SHA-256, or what a model said: a label, words of a caption, "
        "text in the picture."
    )

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["analysis/admin.css"]})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[MediaFile], search_term: str
    ) -> tuple[QuerySet[MediaFile], bool]:
        named, duplicates = super().get_search_results(request, queryset, search_term)
        if not search_term.strip():
            return named, duplicates
        by_name = Q(pk__in=named.order_by().values("pk"))
        return queryset.filter(by_name | matching_text(search_term) | with_label(search_term)), False

    def get_urls(self) -> list[URLPattern]:
        page = path("<path:pk>/forget/", self.admin_site.admin_view(self.forget_view), name=_FORGET)
        return [page, *super().get_urls()]

    def forget_view(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Ask for confirmation (GET); delete the file, its answers and all copies sent to models (POST)."""
        row = self.get_object(request, pk)
        if row is None:
            raise Http404
        if not self.has_delete_permission(request, row):
            raise PermissionDenied
        if request.method == "POST":
            name = str(row)
            forget(row)
            self.message_user(
                request,
                gettext("%(name)s was deleted and forgotten.") % {"name": name},
                messages.SUCCESS,
            )
            return HttpResponseRedirect(reverse("admin:media_files_mediafile_changelist"))
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Forget %(name)s") % {"name": row},
            "opts": self.opts,
            "file": row,
            "answers": Analysis.objects.filter(file=row).count(),
        }
        return TemplateResponse(request, "analysis/forget.html", context)

    def cards(self, request: HttpRequest, row: MediaFile) -> list[SafeString]:
        context = {
            "file": row,
            "may_forget": self.has_delete_permission(request, row),
            "analyses": Analysis.objects.filter(file=row).defer("raw")[:_LAST],
        }
        return [*super().cards(request, row), render_to_string("analysis/file_card.html", context, request)]  # type: ignore[misc]


class AnalysisAdmin(TitledList, ShownByTemplate, DeletesInPages, MadeByTheMachine, AnalysisModelAdmin):
    """List answers, show them on the picture, and delete them. Files are analysed from the file list."""

    list_title = _("Analyses")
    page_template = "analysis/result.html"
    change_list_template = "analysis/change_list.html"
    list_display = ["thumbnail", "file_name", "asked", "state", "said", "made"]
    list_display_links = ["file_name"]
    list_filter = ["provider", "status", ("created_at", AddedFilter)]
    list_select_related = ["file"]
    search_fields = ["file__original_name"]
    search_help_text = _("Part of the file's name. What models said is searched in the list of files.")
    ordering = ["-id"]
    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css", "analysis/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Analysis | None = None) -> bool:
        """Require the permission to view files: an answer reveals what the original shows."""
        return request.user.has_perm("media_files.view_mediafile")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        proxies = Prefetch("file__proxies", Proxy.objects.filter(file_type=Proxy.FileType.IMAGE))
        rows: QuerySet[Any] = super().get_queryset(request).prefetch_related(proxies)
        annotated: QuerySet[Any] = rows.annotate(has_thumbnail=has_thumbnail("file_id"))
        return annotated

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        return super().changelist_view(request, {**(extra_context or {}), "missing": readiness.missing()})

    # -- The list ----------------------------------------------------------------------------------

    @admin.display(description=_("preview"))
    def thumbnail(self, row: Any) -> SafeString:
        return thumbnail(row.file_id, str(row.file), exists=row.has_thumbnail)

    @admin.display(description=_("file"), ordering="file__original_name")
    def file_name(self, row: Analysis) -> str:
        return str(row.file)

    @admin.display(description=pgettext_lazy("column of analyses: the model", "asked"))
    def asked(self, row: Analysis) -> SafeString:
        """Return provider and model in one column, so that the list and its filters fit 1280 px."""
        return format_html(
            '{}<br><span class="quiet" title="{}">{}</span>',
            row.provider,
            row.model,
            truncatechars(row.model, _MODEL),
        )

    @admin.display(description=_("state"))
    def state(self, row: Analysis) -> SafeString:
        return badge(row.error or row.status, row.message)

    @admin.display(description=pgettext_lazy("column of analyses: the answer", "said"))
    def said(self, row: Analysis) -> str:
        return truncatechars(said(row), _CAPTION) or "-"

    @admin.display(description=pgettext_lazy("column of analyses: the date", "made"), ordering="id")
    def made(self, row: Analysis) -> str:
        return day_text(row.created_at)

    # -- One answer --------------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, row: Analysis) -> dict[str, Any]:
        return {
            "title": str(row.file),
            "analysis": row,
            "state": self.state(row),
            "picture_url": picture_url(row),
            "is_of_today": row.source_fingerprint == row.original.fingerprint,
            "layers": layers(row),
            "raw": json.dumps(kept(row.raw), indent=2, ensure_ascii=False),
            "others": Analysis.objects.filter(file=row.file).exclude(pk=row.pk).defer("raw")[:_LAST],
        }


def said(row: Analysis) -> str:
    """Return an answer in one line: the caption, or the names of what was found."""
    result = row.result
    if words := result.get("caption") or result.get("answer"):
        return str(words)
    found = [*result.get("labels", []), *result.get("objects", []), *result.get("text", [])]
    return ", ".join(dict.fromkeys(str(each["name"]) for each in found))


def layers(row: Analysis) -> list[Layer]:
    """Return the boxes to draw: ratios of the upright original, which fit its proxies too."""
    return [
        Layer(
            key,
            str(label),
            [
                Drawn(
                    each["name"],
                    *(_percent(each["box"][side]) for side in ("left", "top", "width", "height")),
                )
                for each in row.result.get(key, [])
                if each["box"]
            ],
        )
        for key, label in KINDS.items()
    ]


def picture_url(row: Analysis) -> str:
    """Return the URL of an upright image that browsers can show: a proxy, or the original if none is needed.

    Browsers apply the original's EXIF orientation, so the boxes fit both.
    """
    proxy = next(iter(row.original.proxies.all()), None)
    if proxy is not None:
        return reverse("proxy-content", args=[proxy.pk])
    return reverse("file-content", args=[row.file_id])


def _percent(ratio: float) -> str:
    return f"{100 * ratio:.3f}%"
