"""Batches through the REST API: planned, started, watched, paused, resumed, cancelled, tried again."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from django.http import Http404, QueryDict
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from media_files.api import MediaFileFilter, NewestFirst, StrictSerializer
from media_files.models import MediaFile
from media_files.permissions import ActionPermissions
from proxies.batches import lifecycle
from proxies.batches.lifecycle import WrongState
from proxies.batches.progress import Progress, progress_of
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.models import Batch, BatchItem
from proxies.outcomes import Outcome
from proxies.queries import proxy_state_of

# Existing callers' statuses.
_STATUS = {state: state.upper() for state in Batch.State}
_LAST = 100


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_code = "conflict"


class IdList(serializers.ListField):
    """File ids, each positive. Named by the door's own words where they are not."""

    child = serializers.IntegerField(min_value=1)
    default_error_messages = {"not_a_list": "Expected a list of file ids, as [1, 2, 3]; got {input_type}."}


class BatchRequestSerializer(StrictSerializer):
    file_ids = IdList(required=False, allow_empty=False, max_length=100_000)
    filter = serializers.DictField(required=False, help_text="The same filters as GET /api/files.")
    force = serializers.BooleanField(default=False)
    dry_run = serializers.BooleanField(default=False)
    profile = serializers.ChoiceField(choices=["nova"], default="nova")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if ("file_ids" in attrs) == ("filter" in attrs):
            raise ValidationError({"file_ids": ["Give either file_ids or filter."]})
        return attrs


class ReasonSerializer(StrictSerializer):
    reason = serializers.CharField(required=False, default="", max_length=255)


class BatchItemSerializer(serializers.ModelSerializer[BatchItem]):
    file_id = serializers.IntegerField(read_only=True)

    class Meta:
        model = BatchItem
        fields = [
            "id",
            "file_id",
            "state",
            "outcome",
            "reasons",
            "error",
            "message",
            "attempts",
            "finished_at",
        ]
        read_only_fields = fields


class BatchItemFilter(filters.FilterSet):
    outcome = filters.ChoiceFilter(choices=[(outcome, outcome) for outcome in Outcome])
    state = filters.ChoiceFilter(choices=BatchItem.State.choices)

    class Meta:
        model = BatchItem
        fields: list[str] = []


class ProxyBatchViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Batch]):
    """Batches, by their number or by their ``job_id``."""

    queryset = Batch.objects.filter(standing=None)
    pagination_class = NewestFirst
    permission_classes = [ActionPermissions]
    lookup_value_regex = r"(?:batch-[a-z-]+-)?[0-9]+"
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

    def get_object(self) -> Batch:
        """Addressed as 12 or as batch-image-proxy-12."""
        key = str(self.kwargs["pk"])
        batch = self.get_queryset().filter(pk=int(key.rpartition("-")[2])).first()
        if batch is None or (not key.isdigit() and key != batch.job_id):
            raise Http404
        self.check_object_permissions(self.request, batch)
        return batch

    def list(self, request: Request) -> Response:
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response([self._describe(batch) for batch in page or []])

    def retrieve(self, request: Request, pk: str) -> Response:
        return Response(self._describe(self.get_object()))

    @extend_schema(request=BatchRequestSerializer, responses={202: dict, 200: dict})
    @action(detail=False, methods=["post"], url_path="image-proxy")
    def image_proxy(self, request: Request) -> Response:
        """Make image proxies of many files; with ``dry_run`` only say what would be done."""
        body = BatchRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        return self._start("image-proxy", body.validated_data)

    @action(detail=True)
    def items(self, request: Request, pk: str) -> Response:
        """The batch's files one by one, filtered by ``outcome`` or ``state``."""
        found = BatchItemFilter(request.query_params, self.get_object().items.all(), request=request)
        if not found.is_valid():
            raise ValidationError(found.errors)
        page = self.paginate_queryset(found.qs)
        return self.get_paginated_response(BatchItemSerializer(page, many=True).data)

    @action(detail=True)
    def status(self, request: Request, pk: str) -> Response:
        """What callers of the older interface poll."""
        batch = self.get_object()
        progress = progress_of(batch)
        done = batch.items.filter(state=BatchItem.State.DONE).order_by("-finished_at", "-id")
        failed = done.filter(outcome__in=[Outcome.FAILED, Outcome.QUARANTINED])
        current = batch.items.filter(state=BatchItem.State.RUNNING).first()
        name = MediaFile.objects.filter(pk=current.file_id).first() if current else None
        return Response(
            {
                "job_id": batch.job_id,
                "status": _STATUS[Batch.State(batch.state)],
                "progress_percent": progress.percent,
                "total_files": progress.total,
                "completed_files": progress.done,
                "failed_files": progress.failed,
                "current_file": name.original_name if name else None,
                "elapsed_seconds": progress.elapsed_seconds,
                "errors": BatchItemSerializer(failed[:_LAST], many=True).data,
                "results": BatchItemSerializer(done[:_LAST], many=True).data,
            }
        )

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"])
    def pause(self, request: Request, pk: str) -> Response:
        """Begin no further file."""
        return self._change(lambda batch: lifecycle.pause(batch, by=_user(request), reason=_reason(request)))

    @action(detail=True, methods=["post"])
    def resume(self, request: Request, pk: str) -> Response:
        """Go on."""
        return self._change(lambda batch: lifecycle.resume(batch, by=_user(request)))

    @extend_schema(request=ReasonSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: str) -> Response:
        """End it as it stands; what was made stays."""
        return self._change(lambda batch: lifecycle.cancel(batch, by=_user(request), reason=_reason(request)))

    @action(detail=True, methods=["post"], url_path="retry-failed")
    def retry_failed(self, request: Request, pk: str) -> Response:
        """Try the failed and quarantined files again, and no others."""
        return self._change(lambda batch: lifecycle.retry_failed(batch, by=_user(request)))

    def _start(self, operation: str, wanted: dict[str, Any]) -> Response:
        selection = _selection(wanted)
        parameters = {"force": wanted["force"], "profile": wanted["profile"]}
        plan = lifecycle.plan(operation, selection, parameters)
        if wanted["dry_run"]:
            return Response({"dry_run": True, "total_files": plan.total, "plan": plan.as_json()})
        batch = lifecycle.start(operation, selection, parameters, by=_user(self.request), planned=plan)
        return Response(
            {
                "job_id": batch.job_id,
                "total_files": plan.total,
                "message": f"{plan.needs_work} of {plan.total} files need work; follow it under url.",
                "url": reverse("batch-detail", args=[batch.pk], request=self.request),
                "plan": plan.as_json(),
            },
            status=status.HTTP_202_ACCEPTED,
        )

    def _change(self, change: Any) -> Response:
        batch = self.get_object()
        try:
            change(batch)
        except WrongState as error:
            raise Conflict(str(error)) from error
        return Response(self._describe(batch))

    def _describe(self, batch: Batch) -> dict[str, Any]:
        progress: Progress = progress_of(batch)
        return {
            "id": batch.pk,
            "job_id": batch.job_id,
            "url": reverse("batch-detail", args=[batch.pk], request=self.request),
            "items_url": reverse("batch-items", args=[batch.pk], request=self.request),
            "operation": batch.operation,
            "parameters": batch.parameters,
            "state": batch.state,
            "paused_reason": batch.paused_reason,
            "created_at": batch.created_at,
            "finished_at": batch.finished_at,
            **progress.as_json(),
        }


def _selection(wanted: dict[str, Any]) -> Selection:
    """The files that a body names, each of which must be there."""
    if "filter" in wanted:
        return Selection(_filtered(wanted["filter"]))
    ids = sorted(set(wanted["file_ids"]))
    selection = Selection(MediaFile.objects.all(), ids)
    known: set[int] = set()
    for page in selection.pages():
        known.update(page.values_list("pk", flat=True))
    if unknown := [id_ for id_ in ids if id_ not in known]:
        shown = ", ".join(map(str, unknown[:20])) + (", ..." if len(unknown) > 20 else "")
        raise ValidationError({"file_ids": [f"{len(unknown)} of {len(ids)} files are not there: {shown}."]})
    return selection


def _filtered(wanted: dict[str, Any]) -> QuerySet[MediaFile]:
    class Filter(MediaFileFilter):
        proxy_state = filters.CharFilter()

    if unknown := sorted(set(wanted) - set(Filter.base_filters)):
        known = ", ".join(Filter.base_filters)
        raise ValidationError({"filter": [f"Unknown: {', '.join(unknown)}. Known are: {known}."]})
    data = QueryDict(mutable=True)
    data.update({key: str(value) for key, value in wanted.items()})
    files = MediaFile.objects.annotate(proxy_state=proxy_state_of(conf().nova))
    found = Filter(data, files)
    if not found.is_valid():
        raise ValidationError({"filter": found.errors})
    return cast(QuerySet[MediaFile], found.qs)


def _user(request: Request) -> Any:
    return request.user


def _reason(request: Request) -> str:
    body = ReasonSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    return str(body.validated_data["reason"])
