"""The admin of proxies: a mixin for files, and the lists of proxies, quarantined files and workers.

For batches see `proxies.admin.batches`, for actions on files `proxies.admin.operations`. Nothing is
registered here: the site composes the classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.defaultfilters import floatformat
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timezone import now
from django.utils.translation import gettext, ngettext, pgettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from media_files.admin import (
    AddedFilter,
    DeletesInPages,
    Kept,
    MadeByTheMachine,
    TitledList,
    day_text,
    dimensions_text,
    size_text,
)
from media_files.localised import number
from media_files.models import MediaFile
from proxies.admin.operation_pages import page_of
from proxies.admin.operations import OperationsMixin, operation_url
from proxies.batches import operations
from proxies.conf import conf
from proxies.image_operation import ImageProxyOperation
from proxies.labels import PROXY_STATES, batch_name, duration, word_of
from proxies.models import Batch, BatchItem, Proxy, Quarantine, WorkerState
from proxies.outcomes import Outcome
from proxies.processes.shared_settings import difference_in_words
from proxies.queries import has_thumbnail, proxy_state_of
from proxies.reports import savings_percent

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    AnyModelAdmin = admin.ModelAdmin[Any]
    ProxyModelAdmin = admin.ModelAdmin[Proxy]
    QuarantineModelAdmin = admin.ModelAdmin[Quarantine]
    WorkerModelAdmin = admin.ModelAdmin[WorkerState]
else:
    AnyModelAdmin = ProxyModelAdmin = QuarantineModelAdmin = WorkerModelAdmin = admin.ModelAdmin

# How many of a file's latest batch items its page shows.
_LAST_ITEMS = 10


def thumbnail(file_id: int, name: str, *, exists: bool) -> SafeString:
    """Return a file's thumbnail in a box of fixed size, loaded lazily. Never the original, however small."""
    if not exists:
        return format_html('<span class="np-thumb np-thumb-none">{}</span>', gettext("no preview"))
    return format_html(
        '<span class="np-thumb"><img src="{}" alt="{}" width="72" height="72" loading="lazy"></span>',
        reverse("file-thumbnail", args=[file_id]),
        gettext("Preview of %(name)s") % {"name": name},
    )


def badge(code: str, title: StrOrPromise = "", text: str = "") -> SafeString:
    """Return an API code in words as a coloured badge; the colour conveys nothing that the text does not."""
    return format_html(
        '<span class="np-badge np-{}" title="{}">{}</span>', code, title, text or word_of(code)
    )


class ShownByTemplate(AnyModelAdmin):
    """Show a row's page with a template instead of a form.

    Attributes:
        page_template: the template's name.
    """

    page_template: str

    def page_context(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return the template's context besides that of all pages."""
        return {"title": str(row)}

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        row = self.get_object(request, object_id)
        if not self.has_view_permission(request, row):
            raise PermissionDenied
        if row is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[attr-defined,no-any-return]
        context = {
            **self.admin_site.each_context(request),
            "subtitle": str(row),
            "opts": self.opts,
            "media": self.media,
            **self.page_context(request, row),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.page_template, context)


class ProxyStateFilter(admin.SimpleListFilter):
    """Filter by the state of the file's proxy."""

    title = _("proxy")
    parameter_name = "proxy_state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, word_of(state)) for state in PROXY_STATES if state != "queued"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MediaFile]) -> QuerySet[MediaFile]:
        return queryset.filter(Q(proxy_state=self.value())) if self.value() else queryset


class FailedInFilter(admin.SimpleListFilter):
    """Filter by the batch in which the files failed; shown only where a link from the batch has set it."""

    title = pgettext_lazy("filter: the batch in which files failed", "failed in")
    parameter_name = "failed_in"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if (given := request.GET.get(self.parameter_name)) is None:
            return []
        batch = Batch.objects.filter(pk=int(given)).first() if _is_number(given) else None
        standing = batch is not None and batch.standing
        return [(given, batch_name(given, standing=bool(standing)))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[MediaFile]) -> QuerySet[MediaFile]:
        if (given := self.value()) is None:
            return queryset
        if not _is_number(given):
            raise IncorrectLookupParameters
        failed = BatchItem.objects.done_with(Outcome.FAILED, Outcome.QUARANTINED)
        return queryset.filter(Exists(failed.filter(batch=int(given), file=OuterRef("pk"))))


class ProxyFileAdminMixin(OperationsMixin):
    """Adds proxies to the admin of files: their state, and the actions on them."""

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["proxies/admin.css"]})

    def get_queryset(self, request: HttpRequest) -> QuerySet[MediaFile]:
        # A file that waits for an analysis, or in a stopped batch, is not about to get a proxy.
        making = {"batch__operation": ImageProxyOperation.name, "batch__state": Batch.State.RUNNING}
        waits = BatchItem.objects.unfinished().filter(file=OuterRef("pk"), **making)
        return (
            super()
            .get_queryset(request)
            .annotate(
                proxy_state=proxy_state_of(conf().nova),
                is_queued=Exists(waits),
                has_thumbnail=has_thumbnail(),
            )
            .prefetch_related(Prefetch("proxies", Proxy.objects.order_by("id")))
        )

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        name, *facts = super().get_list_display(request)
        return ["thumbnail", name, "proxy", *facts]

    def get_list_display_links(self, request: HttpRequest, list_display: Any) -> list[Any]:
        return ["name"]

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        return [ProxyStateFilter, FailedInFilter, *super().get_list_filter(request)]

    @admin.display(description=_("preview"))
    def thumbnail(self, row: Any) -> SafeString:
        return thumbnail(row.pk, str(row), exists=row.has_thumbnail)

    @admin.display(description=_("proxy"))
    def proxy(self, row: Any) -> SafeString:
        return badge(*_state_of(row))

    def cards(self, request: HttpRequest, row: Any) -> list[SafeString]:
        proxy = _image_proxy(row)
        allowed = [o for o in operations.registered() if request.user.has_perm(o.permission)]
        context = {
            "file": row,
            "proxy": proxy,
            "has_thumbnail": row.has_thumbnail,
            "state": _state_of(row),
            "savings": savings_percent(row.bytes, proxy.bytes) if proxy else None,
            "operations": [
                (page_of(operation.name), operation_url(operation, [row.pk])) for operation in allowed
            ],
            "items": BatchItem.objects.filter(file=row).select_related("batch").order_by("-id")[:_LAST_ITEMS],
            "quarantines": Quarantine.objects.filter(source=row).order_by("operation"),
        }
        return [*super().cards(request, row), render_to_string("proxies/file_card.html", context, request)]  # type: ignore[misc]


class ProxyAdmin(TitledList, DeletesInPages, MadeByTheMachine, ProxyModelAdmin):
    """Proxies: view and delete. They are made through their files."""

    list_title = _("Proxies")
    list_display = ["thumbnail", "file", "recipe_state", "facts", "savings", "made"]
    list_display_links = ["file"]
    list_filter = ["file_type", ("created_at", AddedFilter)]
    list_select_related = ["source"]
    search_fields = ["source__original_name", "image"]
    search_help_text = _("Part of the original's name, or of the proxy's.")
    list_per_page = 50
    list_max_show_all = 200
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    readonly_fields = [
        "picture", "original", "path", "dimensions", "size", "savings", "recipe_state", "created_at", "took",
        "made_how", "sha256",
    ]  # fmt: skip
    fields = [*readonly_fields]

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Proxy | None = None) -> bool:
        """Require the permission to view originals, because a proxy shows its original."""
        return request.user.has_perm("media_files.view_mediafile")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.annotate(has_thumbnail=has_thumbnail("source_id"))
        return annotated

    @admin.display(description=_("preview"))
    def thumbnail(self, row: Any) -> SafeString:
        return thumbnail(row.source_id, str(row.source), exists=row.has_thumbnail)

    @admin.display(description=_("proxy"))
    def picture(self, row: Proxy) -> SafeString:
        return render_to_string("proxies/picture.html", {"proxy": row, "name": str(row.source)})

    @admin.display(description=_("original"), ordering="source__original_name")
    def file(self, row: Proxy) -> str:
        return str(row.source)

    @admin.display(description=_("original"))
    def original(self, row: Proxy) -> SafeString:
        url = reverse("admin:media_files_mediafile_change", args=[row.source_id])
        return format_html('<a href="{}">{}</a>', url, row.source)

    @admin.display(description=pgettext_lazy("column of proxies: the date", "made"), ordering="created_at")
    def made(self, row: Proxy) -> str:
        return day_text(row.created_at)

    @admin.display(description=_("stored as"))
    def path(self, row: Proxy) -> str:
        return row.image.name or "-"

    @admin.display(description=_("size"), ordering="bytes")
    def facts(self, row: Proxy) -> SafeString:
        return format_html('{}<br><span class="quiet">{}</span>', self.size(row), self.dimensions(row))

    @admin.display(description=_("dimensions"))
    def dimensions(self, row: Proxy) -> str:
        return dimensions_text(row.width, row.height)

    @admin.display(description=_("size"))
    def size(self, row: Proxy) -> str:
        return size_text(row.bytes)

    @admin.display(description=_("less to send"))
    def savings(self, row: Proxy) -> str:
        return f"{floatformat(savings_percent(row.source.bytes, row.bytes))} %"

    @admin.display(description=_("state"))
    def recipe_state(self, row: Proxy) -> SafeString | str:
        profile = conf().profiles.get(row.profile)
        if profile is None:
            return pgettext("proxy made by another program", "given")
        state = "current" if row.is_current(row.source, profile) else "stale"
        return badge(state, PROXY_STATES[state])

    @admin.display(description=_("time taken"))
    def took(self, row: Proxy) -> str:
        if row.seconds is None:
            return "-"
        return gettext("%(seconds)s seconds") % {"seconds": number(row.seconds, 2)}

    @admin.display(description=_("how it was made"))
    def made_how(self, row: Proxy) -> SafeString:
        return render_to_string("proxies/provenance.html", {"proxy": row})


class QuarantineAdmin(TitledList, MadeByTheMachine, QuarantineModelAdmin):
    """Files on which an operation failed several times. Deleting a row here releases the file."""

    list_title = _("Files in quarantine")
    list_display = ["file", "what", "message", "created_at"]
    list_display_links = None
    list_select_related = ["source"]
    search_fields = ["source__original_name"]
    show_full_result_count = False
    actions = ["release"]

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css"]}

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        actions = super().get_actions(request)
        actions.pop("delete_selected", None)  # "release" is the word for it here
        return actions

    @admin.display(description=_("file"))
    def file(self, row: Quarantine) -> SafeString:
        url = reverse("admin:media_files_mediafile_change", args=[row.source_id])
        return format_html('<a href="{}">{}</a>', url, row.source)

    @admin.display(description=_("operation"), ordering="operation")
    def what(self, row: Quarantine) -> StrOrPromise:
        return page_of(row.operation).label

    @admin.action(description=_("Release: let the files be tried again"), permissions=["delete"])
    def release(self, request: HttpRequest, queryset: QuerySet[Quarantine]) -> None:
        released = set(queryset.values_list("operation", flat=True))
        ids = sorted(set(queryset.values_list("source_id", flat=True)))
        queryset.delete()
        offered = [
            format_html('<a href="{}">{}</a>', operation_url(operation, ids), page_of(operation.name).label)
            for operation in operations.registered()
            if operation.name in released
            and request.user.has_perm(operation.permission)
            and len(ids) <= self.list_per_page
        ]
        text = ngettext("%(count)s file was released.", "%(count)s files were released.", len(ids))
        texts = [text % {"count": number(len(ids))}]
        if offered:
            texts.append(format_html(gettext("Try again now: {action}"), action=offered[0]))
        self.message_user(request, format_html_join(" ", "{}", ((each,) for each in texts)), messages.SUCCESS)


class WorkerStateAdmin(TitledList, Kept, WorkerModelAdmin):
    """Workers: the last report of each supervisor."""

    list_title = _("Workers")
    list_display = [
        "worker", "alive", "status", "heard_of", "processes", "last_task_at", "started_at", "restarts",
        "remarks",
    ]  # fmt: skip
    list_display_links = None
    ordering = ["-beat_at"]

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css"]}

    def get_queryset(self, request: HttpRequest) -> QuerySet[WorkerState]:
        alive = WorkerState.objects.alive().filter(pk=OuterRef("pk"))
        states: QuerySet[WorkerState] = super().get_queryset(request).annotate(is_alive=Exists(alive))
        return states

    @admin.display(description=_("worker"))
    def worker(self, row: WorkerState) -> str:
        return gettext("%(host)s, process %(pid)s") % {"host": row.host, "pid": row.pid}

    @admin.display(description=_("alive"), boolean=True)
    def alive(self, row: Any) -> bool:
        return bool(row.is_alive)

    @admin.display(description=_("state"), ordering="state")
    def status(self, row: WorkerState) -> str:
        return word_of(row.state)

    @admin.display(description=_("message"))
    def remarks(self, row: Any) -> str:
        """Return the last failure, and how the worker's settings differ from those of this site."""
        difference = difference_in_words(row) if row.is_alive else ""
        return " ".join(text for text in (row.message, difference) if text) or "-"

    @admin.display(description=pgettext_lazy("column of workers: last report", "seen"), ordering="beat_at")
    def heard_of(self, row: WorkerState) -> str:
        return gettext("%(duration)s ago") % {"duration": duration((now() - row.beat_at).total_seconds())}


def _state_of(row: Any) -> tuple[str, StrOrPromise]:
    """Return the state of a file's proxy as (code, sentence); ``row`` comes from the mixin's query."""
    if row.file_type != MediaFile.FileType.IMAGE:
        return "not_needed", _("Image proxies are made of images only.")
    state = "queued" if row.is_queued and row.proxy_state != "not_needed" else row.proxy_state
    return state, PROXY_STATES[state]


def _is_number(text: str) -> bool:
    """Return whether ``text`` can be the id of a row."""
    return text.isascii() and text.isdecimal() and len(text) <= 18


def _image_proxy(row: MediaFile) -> Proxy | None:
    """Return the default profile's proxy from the prefetched ones."""
    return next((proxy for proxy in row.proxies.all() if proxy.profile == conf().nova.name), None)
