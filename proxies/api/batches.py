"""Batches in the REST API: plan, start, watch, pause, resume, cancel and retry."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, cast

from django.db.models import QuerySet
from django.http import Http404, QueryDict
from django_filters import rest_framework as filters
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from media_files.api.files import (
    MediaFileFilter,
    NewestFirst,
    StrictAddressMixin,
    StrictFilterSet,
    StrictSerializer,
)
from media_files.api.permissions import ActionPermissions
from media_files.api.schema import DetailSerializer
from media_files.console import counted
from media_files.models import MediaFile
from proxies.api.batch_serializers import (
    STATUSES,
    AcceptedSerializer,
    BatchItemSerializer,
    BatchRequestSerializer,
    BatchSerializer,
    BatchStatusSerializer,
    DryRunSerializer,
    NothingSerializer,
    ReasonSerializer,
)
from proxies.api.proxies import ProxyFilterMixin
from proxies.batches import lifecycle, operations
from proxies.batches.lifecycle import WrongState
from proxies.batches.operations import FixedParameter
from proxies.batches.progress import Progress, progress_of, progress_of_many
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.labels import dollars, work_text
from proxies.models import Batch, BatchItem, BatchItemQuerySet
from proxies.outcomes import Outcome
from proxies.queries import proxy_state_of
from proxies.reports import planned_totals

_LAST = 100


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class BatchItemFilter(StrictFilterSet):
    outcome = filters.ChoiceFilter(choices=[(outcome, outcome) for outcome in Outcome], method="ended")
    state = filters.ChoiceFilter(choices=BatchItem.State.choices)

    class Meta:
        model = BatchItem
        fields: list[str] = []

    def ended(self, items: BatchItemQuerySet, name: str, outcome: str) -> BatchItemQuerySet:
        return items.done_with(outcome)


class BatchFilter(StrictFilterSet):
    state = filters.ChoiceFilter(choices=Batch.State.choices)
    operation = filters.CharFilter()

    class Meta:
        model = Batch
        fields: list[str] = []


class FilesFilter(ProxyFilterMixin, MediaFileFilter):
    """The filters of GET /api/files, without paging."""

    ALSO_KNOWN = frozenset()


class ProxyBatchViewSet(StrictAddressMixin, mixins.ListModelMixin, viewsets.GenericViewSet[Batch]):
    """Batches, addressed by number or by ``job_id``."""

    queryset = Batch.objects.filter(standing=None).select_related("created_by", "changed_by")
    files_filter: type[MediaFileFilter] = FilesFilter
    resume_body: type[StrictSerializer] = NothingSerializer
    pagination_class = NewestFirst
    permission_classes = [ActionPermissions]
    lookup_value_regex = r"(?:batch-[a-z-]+-)?[0-9]{1,18}"
    action_permissions = {
        "list": "proxies.view_batch",
        "retrieve": "proxies.view_batch",
        "items": "proxies.view_batch",
        "status": "proxies.view_batch",
        "image_proxy": "proxies.add_proxy",
        "pause": "proxies.change_batch",
        "resume": "proxies.change_batch",
        "cancel": "proxies.change_batch",
        "retry_failed": "proxies.change_batch",
    }
    further_errors: dict[str, dict[int, Any]] = {
        name: {409: DetailSerializer} for name in ("pause", "resume", "cancel", "retry_failed")
    }

    def get_object(self) -> Batch:
        """Return the batch addressed as 12 or as batch-image-proxy-12."""
        key = str(self.kwargs["pk"])
        batch = self.get_queryset().filter(pk=int(key.rpartition("-")[2])).first()
        if batch is None or (not key.isdigit() and key != batch.job_id):
            raise Http404
        self.check_object_permissions(self.request, batch)
        return batch

    @extend_schema(
        responses=BatchSerializer(many=True),
        parameters=[OpenApiParameter("state", enum=Batch.State.values), OpenApiParameter("operation")],
    )
    def list(self, request: Request) -> Response:
        found = BatchFilter(request.query_params, self.get_queryset(), request=request)
        if not found.is_valid():
            raise ValidationError(found.errors)
        page = self.paginate_queryset(found.qs) or []
        spent = operations.spent_by(page)
        described = zip(page, progress_of_many(page), strict=True)
        return self.get_paginated_response([self._describe(*each, spent) for each in described])

    @extend_schema(responses=BatchSerializer)
    def retrieve(self, request: Request, pk: str) -> Response:
        batch = self.get_object()
        return self._described(batch)

    @extend_schema(request=BatchRequestSerializer, responses={202: AcceptedSerializer, 200: DryRunSerializer})
    @action(detail=False, methods=["post"], url_path="image-proxy")
    def image_proxy(self, request: Request) -> Response:
        """Make image proxies of many files; with ``dry_run``, only return a preview."""
        body = BatchRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        return self.start("image-proxy", wanted, {"force": wanted["force"], "profile": wanted["profile"]})

    @extend_schema(
        responses=BatchItemSerializer(many=True),
        parameters=[
            OpenApiParameter("outcome", enum=[*Outcome]),
            OpenApiParameter("state", enum=BatchItem.State.values),
        ],
    )
    @action(detail=True)
    def items(self, request: Request, pk: str) -> Response:
        """List the batch's files, optionally filtered by ``outcome`` or ``state``."""
        found = BatchItemFilter(request.query_params, self.get_object().items.all(), request=request)
        if not found.is_valid():
            raise ValidationError(found.errors)
        page = self.paginate_queryset(found.qs)
        return self.get_paginated_response(BatchItemSerializer(page, many=True).data)

    @extend_schema(responses=BatchStatusSerializer)
    @action(detail=True)
    def status(self, request: Request, pk: str) -> Response:
        """Return the status that clients of the older API poll."""
        batch = self.get_object()
        progress = progress_of(batch)
        items = BatchItem.objects.filter(batch=batch)
        done = items.newest_done(_LAST, *Outcome)
        failed = items.newest_done(_LAST, Outcome.FAILED, Outcome.QUARANTINED)
        waiting = BatchItem.objects.filter(pk__in=[delay.item for delay in progress.delays])
        current = batch.items.filter(state=BatchItem.State.RUNNING).first()
        name = MediaFile.objects.filter(pk=current.file_id).first() if current else None
        return Response(
            {
                "job_id": batch.job_id,
                "status": STATUSES[Batch.State(batch.state)],
                "progress_percent": progress.percent,
                "total_files": progress.total,
                "completed_files": progress.done,
                "failed_files": progress.failed,
                "current_file": name.original_name if name else None,
                "elapsed_seconds": progress.elapsed_seconds,
                "spent": dollars(operations.spent_by([batch]).get(batch.pk)),
                "errors": BatchItemSerializer([*waiting, *failed], many=True).data,
                "results": BatchItemSerializer(done, many=True).data,
            }
        )

    @extend_schema(request=ReasonSerializer, responses=BatchSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Pause the batch: no further file is started."""
        reason = _reason(request)
        return self._change(lambda batch: lifecycle.pause(batch, by=_user(request), reason=reason))

    @extend_schema(request=NothingSerializer, responses=BatchSerializer)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Resume the batch, with changed parameters if the operation allows them to change."""
        body = self.resume_body(data=request.data)
        body.is_valid(raise_exception=True)
        new_parameters = body.validated_data
        try:
            return self._change(
                lambda batch: lifecycle.resume(batch, by=_user(request), new_parameters=new_parameters)
            )
        except FixedParameter as error:
            raise ValidationError({name: [str(error)] for name in error.names}) from error

    @extend_schema(request=ReasonSerializer, responses=BatchSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """Cancel the batch; finished results are kept."""
        reason = _reason(request)
        return self._change(lambda batch: lifecycle.cancel(batch, by=_user(request), reason=reason))

    @extend_schema(request=NothingSerializer, responses=BatchSerializer)
    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        """Retry only the failed and quarantined files."""
        _no_body(request)
        return self._change(lambda batch: lifecycle.retry_failed(batch, by=_user(request)))

    def start(self, operation: str, wanted: dict[str, Any], parameters: dict[str, Any]) -> Response:
        """Plan an operation on the files that the request body selects; start it unless it is a dry run."""
        selection = _selection(wanted, self.files_filter)
        plan = lifecycle.plan(operation, selection, parameters)
        if wanted["dry_run"]:
            return Response({"dry_run": True, "total_files": plan.total, "plan": planned_totals(plan)})
        batch = lifecycle.start(operation, selection, parameters, by=_user(self.request), planned=plan)
        return Response(
            {
                "job_id": batch.job_id,
                "total_files": plan.total,
                "message": f"{work_text(plan)}; follow it under url.",
                "url": reverse("batch-detail", args=[batch.pk], request=self.request),
                "plan": planned_totals(plan),
            },
            status=status.HTTP_202_ACCEPTED,
        )

    def _change(self, change: Any) -> Response:
        batch = self.get_object()
        try:
            change(batch)
        except WrongState as error:
            raise Conflict(str(error)) from error
        return self._described(batch)

    def _described(self, batch: Batch) -> Response:
        return Response(self._describe(batch, progress_of(batch), operations.spent_by([batch])))

    def _describe(self, batch: Batch, progress: Progress, spent: Mapping[int, Decimal]) -> dict[str, Any]:
        return {
            "id": batch.pk,
            "job_id": batch.job_id,
            "url": reverse("batch-detail", args=[batch.pk], request=self.request),
            "items_url": reverse("batch-items", args=[batch.pk], request=self.request),
            "operation": batch.operation,
            "parameters": batch.parameters,
            "state": batch.state,
            "paused_reason": batch.paused_reason,
            "paused_code": batch.paused_code,
            "created_by": batch.created_by.get_username() if batch.created_by else None,
            "changed_by": batch.changed_by.get_username() if batch.changed_by else None,
            "plan": batch.plan,
            "spent": dollars(spent.get(batch.pk)),
            "created_at": batch.created_at,
            "finished_at": batch.finished_at,
            **progress.as_json(),
        }


def _selection(wanted: dict[str, Any], files_filter: type[MediaFileFilter]) -> Selection:
    """Return the files that the request body selects; each listed file must exist."""
    if "filter" in wanted:
        return Selection(_filtered(wanted["filter"], files_filter))
    ids = sorted(set(wanted["file_ids"]))
    selection = Selection(MediaFile.objects.all(), ids)
    known: set[int] = set()
    for page in selection.pages():
        known.update(page.values_list("pk", flat=True))
    if unknown := [id_ for id_ in ids if id_ not in known]:
        shown = ", ".join(map(str, unknown[:20])) + (", ..." if len(unknown) > 20 else "")
        are = "is" if len(unknown) == 1 else "are"
        raise ValidationError(
            {"file_ids": [f"{len(unknown)} of {counted(len(ids), 'file')} {are} not there: {shown}."]}
        )
    return selection


def _filtered(wanted: dict[str, Any], files_filter: type[MediaFileFilter]) -> QuerySet[MediaFile]:
    data = QueryDict(mutable=True)
    data.update({key: "" if value is None else str(value) for key, value in wanted.items()})
    found = files_filter(data, MediaFile.objects.annotate(proxy_state=proxy_state_of(conf().nova)))
    if not found.is_valid():
        raise ValidationError({"filter": found.errors})
    return cast(QuerySet[MediaFile], found.qs)


def _user(request: Request) -> Any:
    return request.user


def _reason(request: Request) -> str:
    body = ReasonSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["reason"])


def _no_body(request: Request) -> None:
    NothingSerializer(data=request.data).is_valid(raise_exception=True)
