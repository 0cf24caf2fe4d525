"""Operations as actions in the list of files: the preview page, and the start of a batch.

Generic over `Operation`: each registered operation gets its action, its page and its permission.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IS_POPUP_VAR, IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG, PAGE_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import BigIntegerField, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from media_files.admin import FileModelAdmin
from media_files.models import MediaFile
from proxies.admin.operation_pages import OperationPage, page_of
from proxies.batches import lifecycle, operations
from proxies.batches.operations import Operation, UnknownOperation
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.labels import REASONS, work_text
from proxies.models import Batch
from proxies.outcomes import NEEDS_WORK, Outcome

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

IDS, FILTER = "ids", "filter"


class NothingSelected(Exception):
    """The URL selects no files, or selects them in an invalid way."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """The files selected for an operation.

    Attributes:
        selection: the files to process.
        filters: how they were chosen, as (name, value) for display; empty for single files, or for all.
        is_filter: whether they are selected by a filter, which may match other files a minute later.
        list_query: the query string of the list in which they were chosen.
    """

    selection: Selection
    filters: list[tuple[str, str]]
    is_filter: bool
    list_query: str = ""


class OperationsMixin(FileModelAdmin):
    """Adds an action to the list of files for each operation that the user may start."""

    change_list_template = "proxies/file_change_list.html"

    # -- The list ----------------------------------------------------------------------------------

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        if IS_POPUP_VAR in request.GET:
            return {}
        offered = {operation.name: _as_action(operation) for operation in _allowed(request)}
        return {**offered, **super().get_actions(request)}

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        context = {
            **(extra_context or {}),
            "pages": [page_of(operation.name) for operation in _allowed(request)],
        }
        return super().changelist_view(request, context)

    def get_urls(self) -> list[URLPattern]:
        page = path(
            "operation/<slug:name>/",
            self.admin_site.admin_view(self.operation_view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_operation",
        )
        return [page, *super().get_urls()]

    # -- The page ----------------------------------------------------------------------------------

    def operation_view(self, request: HttpRequest, name: str) -> HttpResponse:
        """Show the preview (GET); start the batch and redirect to its page (POST)."""
        operation = self._operation(request, name)
        try:
            chosen = self._chosen(request)
        except NothingSelected as nothing:
            self.message_user(request, str(nothing), messages.WARNING)
            return HttpResponseRedirect(self._list_url())
        options = _options_form(operation, request.POST if request.method == "POST" else request.GET)
        parameters = operation.parameters(options.cleaned_data)
        plan = lifecycle.plan(operation.name, chosen.selection, parameters)
        if request.method != "POST" or not options.is_valid():
            return self._show(request, operation, chosen, options, plan)
        batch = lifecycle.start(
            operation.name, chosen.selection, parameters, by=cast(Any, request.user), planned=plan
        )
        self.message_user(
            request,
            _("Started: %(work)s. You can close this page; the work continues.") % {"work": work_text(plan)},
            messages.SUCCESS,
        )
        return HttpResponseRedirect(reverse("admin:proxies_batch_change", args=[batch.pk]))

    def _operation(self, request: HttpRequest, name: str) -> Operation:
        try:
            operation = operations.get(name)
        except UnknownOperation as error:
            raise Http404(str(error)) from error
        if not (request.user.has_perm(operation.permission) and self.has_view_permission(request)):
            raise PermissionDenied
        return operation

    def _show(
        self, request: HttpRequest, operation: Operation, chosen: Chosen, options: forms.Form, plan: Plan
    ) -> HttpResponse:
        page = page_of(operation.name)
        selected = {key: request.GET[key] for key in (IDS, FILTER) if key in request.GET}
        context = {
            **self.admin_site.each_context(request),
            "title": page.label,
            "opts": self.opts,
            "page": page,
            "chosen": chosen,
            "options": options,
            "plan": plan,
            "outcomes": _outcome_rows(page, plan),
            "reasons": _reason_rows(plan),
            "hidden": selected.items(),
            "query": urlencode(selected),
            "list_url": self._list_url(chosen.list_query),
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "proxies/operation.html", context)

    # -- Which files -------------------------------------------------------------------------------

    def _chosen(self, request: HttpRequest) -> Chosen:
        if IDS in request.GET:
            return self._chosen_ids(request)
        if FILTER in request.GET:
            return self._chosen_by_filter(request, request.GET[FILTER])
        raise NothingSelected(_("Select the files first, then choose an action."))

    def _chosen_ids(self, request: HttpRequest) -> Chosen:
        try:
            ids = [int(id_) for id_ in request.GET[IDS].split(",")]
        except ValueError:
            ids = []
        if not ids or max(map(abs, ids)) > BigIntegerField.MAX_BIGINT:
            raise NothingSelected(_("That address names no files. Select them in the list."))
        return Chosen(Selection(MediaFile.objects.all(), ids), [], is_filter=False)

    def _chosen_by_filter(self, request: HttpRequest, query: str) -> Chosen:
        """Return all files that the list shows for this query string, on all its pages."""
        as_list = copy.copy(request)
        as_list.GET = QueryDict(query)
        try:
            shown: ChangeList = self.get_changelist_instance(as_list)
        except IncorrectLookupParameters:
            raise NothingSelected(_("That filter cannot be read. Choose it in the list.")) from None
        files: QuerySet[MediaFile] = shown.queryset.order_by("pk")
        filters = [
            (str(spec.title), str(choice["display"]))
            for spec in shown.filter_specs
            for number, choice in enumerate(spec.choices(shown))
            if choice["selected"] and number  # the first is "All"
        ]
        if shown.query:
            filters.insert(0, (_("search"), f"“{shown.query}”"))
        elif not filters and shown.get_filters_params():
            filters.append(("", _("as chosen in the list")))  # typed into the address bar
        return Chosen(Selection(files), filters, is_filter=True, list_query=query)

    def _list_url(self, query: str = "") -> str:
        url = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        return f"{url}?{query}" if query else url


def operation_url(operation: Operation, ids: list[int]) -> str:
    """Return the URL of an operation's page for a few files."""
    return _page_url(operation, {IDS: ",".join(map(str, ids))})


def filter_url(operation: Operation, query: str, **options: str) -> str:
    """Return the URL of an operation's page for all files that the list shows for a query string."""
    return _page_url(operation, {FILTER: query, **options})


def _page_url(operation: Operation, query: dict[str, str]) -> str:
    url = reverse("admin:media_files_mediafile_operation", args=[operation.name])
    return f"{url}?{urlencode(query)}"


def _as_action(operation: Operation) -> tuple[Any, str, str]:
    # The admin formats the label with %.
    return (
        partial(_open_page, operation),
        operation.name,
        str(page_of(operation.name).label).replace("%", "%%"),
    )


def _open_page(
    operation: Operation, modeladmin: OperationsMixin, request: HttpRequest, files: QuerySet[MediaFile]
) -> HttpResponse:
    """Redirect to the operation's page, with the filter if all its files are selected, else with ids."""
    if request.POST.get("select_across") != "1":
        ids = ",".join(request.POST.getlist(ACTION_CHECKBOX_NAME))
        return HttpResponseRedirect(_page_url(operation, {IDS: ids}))
    shown = request.GET.copy()
    for name in (PAGE_VAR, ERROR_FLAG):
        shown.pop(name, None)
    return HttpResponseRedirect(filter_url(operation, shown.urlencode()))


def _allowed(request: HttpRequest) -> list[Operation]:
    return [o for o in operations.registered() if request.user.has_perm(o.permission)]


def _options_form(operation: Operation, data: QueryDict) -> forms.Form:
    """Return the operation's options form, validated; an unticked checkbox is off."""
    form_class = cast(type[forms.Form], type("OptionsForm", (forms.Form,), page_of(operation.name).fields()))
    form = form_class(data)
    form.full_clean()
    return form


def changes_form(batch: Batch, data: QueryDict | None = None) -> forms.Form | None:
    """Return a form of the parameters that may change on resume, with current values; None for no such."""
    try:
        operation = operations.get(batch.operation)
    except UnknownOperation:  # no longer registered
        return None
    every = page_of(operation.name).fields()
    fields = {name: every[name] for name in every if name in operation.changeable}
    if not fields:
        return None
    form_class = cast(type[forms.Form], type("ChangesForm", (forms.Form,), fields))
    return form_class(data, initial=batch.parameters, auto_id="np-parameter-%s")


def _outcome_rows(page: OperationPage, plan: Plan) -> list[tuple[str, int, StrOrPromise]]:
    """Return rows of (outcome, files, explanation), those that need work first."""
    known = [*(outcome for outcome in Outcome if outcome in NEEDS_WORK), *Outcome]
    return [
        (outcome.value, plan.outcomes[outcome], page.planned[outcome])
        for outcome in dict.fromkeys(known)
        if plan.outcomes[outcome]
    ]


def _reason_rows(plan: Plan) -> list[tuple[str, int, StrOrPromise]]:
    return [(reason, count, REASONS.get(reason, "")) for reason, count in plan.reasons.most_common()]
