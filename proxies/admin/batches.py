"""Batches in the admin: the list, the live page of a batch, its items, and the buttons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, cast

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import F, OuterRef, QuerySet, Subquery
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, QueryDict
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_POST

from media_files.admin import AddedFilter, Kept, TitledList
from media_files.localised import number
from media_files.models import MediaFile
from proxies.admin.operation_pages import page_of
from proxies.admin.operations import changes_form, filter_url
from proxies.admin.proxies import ShownByTemplate, badge
from proxies.batches import lifecycle, operations
from proxies.batches.lifecycle import WrongState
from proxies.batches.progress import Progress, progress_of
from proxies.labels import batch_name, duration, reasons_text, word_of
from proxies.models import Batch, BatchItem, WorkerState
from proxies.outcomes import Outcome

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

    BatchModelAdmin = admin.ModelAdmin[Batch]
    ItemModelAdmin = admin.ModelAdmin[BatchItem]
else:
    BatchModelAdmin = ItemModelAdmin = admin.ModelAdmin

_FAILED: Final = (Outcome.FAILED, Outcome.QUARANTINED)
# Failures shown on the page itself, newest first; all of them are in the list of items.
_LAST_FAILURES: Final = 10
_IN_HAND: Final = 4


@dataclass(frozen=True, slots=True)
class Change:
    """A button on the batch's page.

    Attributes:
        label: its text.
        hint: its effect, as a tooltip.
        act: the function it calls.
        done: the message afterwards.
        confirm: the text of a second button, next to a field for the reason; without it, none is given.
        takes_parameters: whether the user may change some of the parameters with it.
    """

    label: StrOrPromise
    hint: StrOrPromise
    act: Callable[..., Any]
    done: StrOrPromise
    confirm: StrOrPromise = ""
    takes_parameters: bool = False


CHANGES: Final[dict[str, Change]] = {
    "pause": Change(
        _("Pause"),
        _("Starts no more files. You can resume it later."),
        lifecycle.pause,
        _("Paused."),
        confirm=_("Pause this batch"),
    ),
    "resume": Change(
        _("Resume"),
        _("Continue where it stopped."),
        lifecycle.resume,
        _("Resumed."),
        takes_parameters=True,
    ),
    "retry_failed": Change(
        _("Retry failed"),
        _("Try the failed files again, and no others."),
        lifecycle.retry_failed,
        _("The failed files are tried again."),
    ),
    "cancel": Change(
        _("Cancel"),
        _("End it for good. Finished proxies and answers are kept."),
        lifecycle.cancel,
        _("Cancelled."),
        confirm=_("Cancel this batch"),
    ),
}


class BatchAdmin(TitledList, ShownByTemplate, Kept, BatchModelAdmin):
    """Batches: overview, progress, pause, resume, cancel and retry."""

    list_title = _("Batches")
    page_template = "proxies/batch.html"
    list_display = ["batch", "status", "progress", "what", "who", "started", "lasted"]
    list_display_links = ["batch"]
    list_filter = ["state", ("created_at", AddedFilter)]
    list_select_related = ["created_by"]
    # Uploads, which always exist, first; then the newest.
    ordering = [F("standing").desc(nulls_last=True), "-id"]
    sortable_by = ()
    list_per_page = 25
    list_max_show_all = 25
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css"]}

    def has_view_permission(self, request: HttpRequest, obj: Batch | None = None) -> bool:
        return request.user.has_perm("proxies.view_batch") or request.user.has_perm("proxies.change_batch")

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        return [
            path("<int:pk>/progress/", view(self.progress_view), name="proxies_batch_progress"),
            path("<int:pk>/<slug:name>/now/", view(self.act_view), name="proxies_batch_act"),
            *super().get_urls(),
        ]

    # -- The list ----------------------------------------------------------------------------------

    @admin.display(description=_("batch"))
    def batch(self, row: Batch) -> str:
        return batch_name(row.pk, standing=bool(row.standing))

    @admin.display(description=pgettext_lazy("column of batches: the operation", "what"))
    def what(self, row: Batch) -> str:
        switched_on = (word_of(name) for name, on in row.parameters.items() if on is True)
        return ", ".join([str(page_of(row.operation).label), *switched_on])

    @admin.display(description=_("state"))
    def status(self, row: Batch) -> SafeString:
        return state_badge(row, _progress(row))

    @admin.display(description=_("progress"))
    def progress(self, row: Batch) -> SafeString:
        return render_to_string("proxies/batch_glance.html", {"batch": row, "progress": _progress(row)})

    @admin.display(description=pgettext_lazy("column of batches: who started it", "by"))
    def who(self, row: Batch) -> str:
        if row.created_by:
            return row.created_by.get_username()
        return "-" if row.standing else gettext("a command")

    @admin.display(description=_("started"))
    def started(self, row: Batch) -> str:
        return "-" if row.standing else _moment_text(row.created_at)

    @admin.display(description=pgettext_lazy("column of batches: its duration", "took"))
    def lasted(self, row: Batch) -> str:
        return "-" if row.standing else duration(_progress(row).elapsed_seconds)

    # -- One batch ---------------------------------------------------------------------------------

    def page_context(self, request: HttpRequest, row: Batch) -> dict[str, Any]:
        return {
            **self._live_context(request, row),
            "title": self.batch(row),
            "what": self.what(row),
            "started_template": page_of(row.operation).started_template,
        }

    def progress_view(self, request: HttpRequest, pk: int) -> JsonResponse:
        """Return the parts of the page that refresh every few seconds, rendered by the page's templates."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = self._live_context(request, self._batch(pk))
        batch, progress = context["batch"], context["progress"]
        return JsonResponse(
            {
                "state": batch.state,
                "is_open": batch.is_open,
                "percent": progress.percent,
                "changes": [name for name, _change in context["changes"]],
                "announcement": _announcement(batch, progress),
                "live": render_to_string("proxies/batch_live.html", context, request),
                "buttons": render_to_string("proxies/batch_buttons.html", context, request),
            }
        )

    @method_decorator(require_POST)
    def act_view(self, request: HttpRequest, pk: int, name: str) -> HttpResponse:
        """Handle one of the buttons."""
        if not request.user.has_perm("proxies.change_batch"):
            raise PermissionDenied
        batch, change = self._batch(pk), CHANGES.get(name)
        if change is None:
            raise Http404(f"A batch has no {name!r}. There are: {', '.join(CHANGES)}.")
        reason = request.POST.get("reason", "").strip()
        try:
            given = _given_anew(batch, request.POST) if change.takes_parameters else {}
            change.act(batch, by=request.user, **given, **({"reason": reason} if change.confirm else {}))
        except (WrongState, ValidationError) as error:
            said = " ".join(error.messages) if isinstance(error, ValidationError) else str(error)
            self.message_user(request, said, messages.ERROR)
        else:
            with translation.override(None):  # like Django's own entries
                self.log_change(request, batch, f"{change.done} {reason}".strip())
            self.message_user(request, str(change.done), messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:proxies_batch_change", args=[pk]))

    def _batch(self, pk: int) -> Batch:
        batch = Batch.objects.select_related("created_by", "changed_by").filter(pk=pk).first()
        if batch is None:
            raise Http404(f"There is no batch {pk}.")
        return batch

    def _live_context(self, request: HttpRequest, batch: Batch) -> dict[str, Any]:
        progress = progress_of(batch)
        failures = batch.items.filter(state=BatchItem.State.DONE, outcome__in=_FAILED)
        in_hand = batch.items.filter(state=BatchItem.State.RUNNING)
        may_change = request.user.has_perm("proxies.change_batch")
        possible = lifecycle.possible_changes(batch, has_failures=progress.failed > 0) if may_change else []
        is_waiting = batch.state == Batch.State.RUNNING and batch.executor == Batch.Executor.QUEUE
        return {
            "batch": batch,
            "progress": progress,
            "status": state_badge(batch, progress),
            "outcomes": _outcome_rows(batch, progress),
            "items_url": _items_url(batch),
            "again_url": _again_url(request, batch) if batch.standing and progress.failed else "",
            "spent": operations.spent_by([batch]).get(batch.pk),
            "in_hand": _named(in_hand)[:_IN_HAND] if batch.is_open else [],
            "failures": _named(failures).order_by("-finished_at", "-id")[:_LAST_FAILURES]
            if progress.failed
            else [],
            "changes": [(name, CHANGES[name]) for name in CHANGES if name in possible],
            "new_parameters": changes_form(batch),
            "worker_missing": is_waiting
            and progress.done < progress.total
            and not WorkerState.objects.alive().exists(),
        }


class OutcomeFilter(admin.SimpleListFilter):
    """Filter done items by outcome. The state is part of the query so that the ledger's index is used."""

    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(outcome.value, word_of(outcome)) for outcome in Outcome]

    def queryset(self, request: HttpRequest, queryset: QuerySet[BatchItem]) -> QuerySet[BatchItem]:
        if not self.value():
            return queryset
        return queryset.filter(state=BatchItem.State.DONE, outcome=self.value())


class BatchItemAdmin(TitledList, Kept, ItemModelAdmin):
    """The files of a batch; read-only."""

    list_title = _("Files of a batch")
    list_display = ["file_name", "status", "why", "in_batch", "attempts", "finished"]
    list_display_links = None
    list_filter = [OutcomeFilter, "state"]
    list_select_related = ["batch"]
    ordering = ["id"]
    sortable_by = ()
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    actions = None

    class Media:
        css = {"all": ["media_files/admin.css", "proxies/admin.css"]}

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Hide the list from the index: it is reached from a batch."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: BatchItem | None = None) -> bool:
        return request.user.has_perm("proxies.view_batch") or request.user.has_perm("proxies.change_batch")

    def get_queryset(self, request: HttpRequest) -> QuerySet[BatchItem]:
        return _named(super().get_queryset(request))

    def get_fields(self, request: HttpRequest, obj: BatchItem | None = None) -> list[Any]:
        return ["file_name", "status", "why", "attempts", "finished_at", "in_batch"]

    def get_readonly_fields(self, request: HttpRequest, obj: BatchItem | None = None) -> list[Any]:
        return self.get_fields(request, obj)

    @admin.display(description=_("file"))
    def file_name(self, row: Any) -> SafeString:
        if row.file_name is None:
            return format_html(gettext("file {id} <span class=quiet>(deleted)</span>"), id=row.file_id)
        url = reverse("admin:media_files_mediafile_change", args=[row.file_id])
        name = row.file_name or gettext("file %(id)s") % {"id": row.file_id}
        return format_html('<a href="{}">{}</a>', url, name)

    @admin.display(description=_("outcome"))
    def status(self, row: BatchItem) -> SafeString:
        return badge(row.outcome or row.state, page_of(row.batch.operation).happened.get(row.outcome, ""))

    @admin.display(description=pgettext_lazy("column of files: the reason", "why"))
    def why(self, row: BatchItem) -> str:
        return f"{row.message} ({row.error})" if row.error else reasons_text(row.reasons) or "-"

    @admin.display(description=_("finished"))
    def finished(self, row: BatchItem) -> str:
        return _moment_text(row.finished_at) if row.finished_at else "-"

    @admin.display(description=_("batch"))
    def in_batch(self, row: BatchItem) -> SafeString:
        url = reverse("admin:proxies_batch_change", args=[row.batch_id])
        name = gettext("New uploads") if row.batch.standing else row.batch_id
        return format_html('<a href="{}">{}</a>', url, name)


def _given_anew(batch: Batch, posted: QueryDict) -> dict[str, Any]:
    """Return the batch's parameters that the form changes.

    Raises:
        ValidationError: one of them is invalid.
    """
    form = changes_form(batch, posted)
    if form is None:
        return {}
    if not form.is_valid():
        raise ValidationError([f"{field.label}: {said}" for field in form for said in field.errors])
    return {"new_parameters": {name: value for name, value in form.cleaned_data.items() if name in posted}}


def state_badge(batch: Batch, progress: Progress) -> SafeString:
    """Return a badge of a batch's state; a completed batch with failures looks different from one without."""
    if batch.standing:
        return badge("always_on")
    if batch.state == Batch.State.COMPLETED and progress.failed:
        text = ngettext("completed, %(count)s failed", "completed, %(count)s failed", progress.failed)
        hint = gettext("Its failures are listed on its page.")
        return badge("partly", hint, text % {"count": number(progress.failed)})
    return badge(batch.state, batch.paused_reason)


def _announcement(batch: Batch, progress: Progress) -> str:
    """Return what screen readers announce: each change of state, and each tenth of the way."""
    percent = int(progress.percent) // 10 * 10
    return gettext("%(state)s, %(percent)s percent done") % {
        "state": word_of(batch.state),
        "percent": percent,
    }


def _moment_text(moment: datetime) -> str:
    return date_format(localtime(moment), "DATETIME_FORMAT")


def _progress(batch: Batch) -> Progress:
    """Return the progress of a row of the list, computed once for all its columns."""
    known: Progress | None = getattr(batch, "_shown_progress", None)
    if known is None:
        known = progress_of(batch)
        cast(Any, batch)._shown_progress = known
    return known


def _outcome_rows(batch: Batch, progress: Progress) -> list[tuple[str, int, StrOrPromise, str]]:
    """Return rows of (outcome, files, explanation, URL of their list)."""
    happened = page_of(batch.operation).happened
    return [
        (outcome.value, count, happened[outcome], _items_url(batch, outcome=outcome))
        for outcome in Outcome
        if (count := progress.counts.get(outcome, 0))
    ]


def _items_url(batch: Batch, *, outcome: Outcome | None = None) -> str:
    url = f"{reverse('admin:proxies_batchitem_changelist')}?batch__id__exact={batch.pk}"
    return f"{url}&outcome={outcome.value}" if outcome else url


def _again_url(request: HttpRequest, batch: Batch) -> str:
    """Return the URL of the page that retries a standing batch's failures in a new batch."""
    operation = operations.get(batch.operation)
    if not request.user.has_perm(operation.permission):
        return ""
    # Forced, because a recorded failure is not tried again otherwise.
    return filter_url(operation, f"failed_in={batch.pk}", force="on")


def _named(items: QuerySet[BatchItem]) -> QuerySet[BatchItem]:
    """Annotate ``file_name``, None if the file was deleted; a join would omit those items."""
    names = MediaFile.objects.filter(pk=OuterRef("file_id")).values("original_name")[:1]
    return items.annotate(file_name=Subquery(names))
