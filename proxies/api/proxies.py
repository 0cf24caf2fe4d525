"""The REST API of proxies; the site composes these classes with those of originals."""

from __future__ import annotations

from typing import Any

from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.http import HttpResponseBase
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from media_files.api.files import (
    IdFilter,
    NewestFirst,
    StrictAddressMixin,
    StrictFilterSet,
    StrictSerializer,
)
from media_files.api.permissions import ActionPermissions
from media_files.api.schema import FaultSerializer
from media_files.errors import SourceMissing
from media_files.imaging.inspection import CONTENT_TYPES
from media_files.models import MediaFile
from media_files.serving import bytes_response, file_response
from proxies.conf import conf
from proxies.models import BatchItem, Proxy, Thumbnail, proxies_storage
from proxies.outcomes import NEEDS_WORK, NOT_NEEDED, Outcome
from proxies.queries import proxy_state_of
from proxies.rendering.render import Reason
from proxies.repair import make_again
from proxies.reports import savings_percent
from proxies.services import ImageProxyService, ProxyResult

PROXY_STATES = ["current", "stale", "missing", "failed", "not_needed"]


class ProxySerializer(serializers.ModelSerializer[Proxy]):
    url = serializers.HyperlinkedIdentityField(view_name="proxy-detail")
    content_url = serializers.SerializerMethodField(help_text="The proxy's bytes.")
    source_id = serializers.IntegerField(read_only=True)
    path = serializers.CharField(source="image.name", read_only=True)

    class Meta:
        model = Proxy
        fields = [
            "id", "url", "content_url", "source_id", "file_type", "profile", "path", "width", "height",
            "format", "bytes", "sha256", "recipe", "provenance", "seconds", "created_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_content_url(self, row: Proxy) -> str:
        return reverse("proxy-content", args=[row.pk], request=self.context.get("request"))


class ProxyStatusSerializer(serializers.Serializer[Any]):
    """A summary of the image proxy: its id and size, or that none is needed, or why there is none yet."""

    state = serializers.ChoiceField(choices=PROXY_STATES)
    id = serializers.IntegerField(required=False)
    bytes = serializers.IntegerField(required=False)
    width = serializers.IntegerField(required=False)
    height = serializers.IntegerField(required=False)
    error = serializers.CharField(required=False, help_text="The code of what went wrong with it.")
    message = serializers.CharField(required=False)


class ProxyFieldsMixin(serializers.Serializer[Any]):
    """The fields that a file gets from its proxies."""

    proxies = ProxySerializer(many=True, read_only=True)
    proxy_state = serializers.ChoiceField(choices=PROXY_STATES, read_only=True)
    proxy_status = serializers.SerializerMethodField()

    PROXY_FIELDS = ["proxy_state", "proxy_status", "proxies"]

    @extend_schema_field(ProxyStatusSerializer)
    def get_proxy_status(self, row: Any) -> dict[str, Any]:
        state = row.proxy_state
        proxy = next((p for p in row.proxies.all() if p.profile == conf().nova.name), None)
        if state == "current" and proxy:
            size = {"bytes": proxy.bytes, "width": proxy.width, "height": proxy.height}
            return {"state": state, "id": proxy.pk, **size}
        if row.file_type != MediaFile.FileType.IMAGE:
            return {"state": state, "message": "A video. Image proxies are made of images only."}
        if state == "not_needed":
            return {"state": state, "message": "A model can read this original as it is."}
        if row.last_state == BatchItem.State.DONE and row.last_error:
            return {"state": state, "error": row.last_error, "message": row.last_message}
        if row.last_state in (BatchItem.State.QUEUED, BatchItem.State.RUNNING):
            return {"state": state, "message": "On its way. Ask again shortly."}
        return {
            "state": state,
            "message": "Not in progress. POST create-image-proxy creates it or explains why it cannot.",
        }


class ProxyFilterMixin(StrictFilterSet):
    proxy_state = filters.ChoiceFilter(choices=[(state, state) for state in PROXY_STATES])


class ProfileField(serializers.CharField):
    """The name of a profile of this installation."""

    def to_internal_value(self, data: Any) -> str:
        name: str = super().to_internal_value(data)
        if name not in conf().profiles:
            known = ", ".join(sorted(conf().profiles))
            raise serializers.ValidationError(f"There is no profile {name!r}. Known are: {known}.")
        return name


class ForceSerializer(StrictSerializer):
    force = serializers.BooleanField(default=False, help_text="Make it again even if it is up to date.")
    profile = ProfileField(default="nova")


class MadeProxySerializer(serializers.Serializer[Any]):
    """The outcome for a file, and the proxy that a model would get in its place."""

    proxy_id = serializers.IntegerField(allow_null=True)
    source_id = serializers.IntegerField()
    original_size_bytes = serializers.IntegerField()
    proxy_size_bytes = serializers.IntegerField(allow_null=True)
    savings_percent = serializers.FloatField(help_text="Of the bytes to be sent; negative where it is more.")
    original_dimensions = serializers.ListField(
        child=serializers.IntegerField(), min_length=2, max_length=2, help_text="Width and height, upright."
    )
    proxy_dimensions = serializers.ListField(
        child=serializers.IntegerField(), min_length=2, max_length=2, allow_null=True
    )
    outcome = serializers.ChoiceField(
        choices=[Outcome.CREATED, Outcome.REPLACED, Outcome.REUSED, Outcome.SKIPPED]
    )
    reasons = serializers.ListField(child=serializers.ChoiceField(choices=[*Reason, NOT_NEEDED]))
    url = serializers.URLField(allow_null=True, help_text="The proxy's bytes.")


class ProxyActionsMixin(viewsets.GenericViewSet[MediaFile]):
    """The actions on a file's proxies."""

    def get_queryset(self) -> QuerySet[MediaFile]:
        return (
            super()
            .get_queryset()
            .annotate(
                proxy_state=proxy_state_of(conf().nova),
                last_state=_of_last_item("state"),
                last_error=_of_last_item("error"),
                last_message=_of_last_item("message"),
            )
            .prefetch_related(Prefetch("proxies", Proxy.objects.order_by("id")))
        )

    @extend_schema(request=ForceSerializer, responses={200: MadeProxySerializer, 201: MadeProxySerializer})
    @action(detail=True, methods=["post"], url_path="create-image-proxy")
    def create_image_proxy(self, request: Request, pk: str | None = None) -> Response:
        """Make this file's image proxy now, and respond when it is ready."""
        body = ForceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        row = self.get_object()
        service = ImageProxyService(profile=body.validated_data["profile"])
        result = service.create_proxy(row, force=body.validated_data["force"])
        made = result.outcome in NEEDS_WORK
        return Response(
            _answer(result, request), status=status.HTTP_201_CREATED if made else status.HTTP_200_OK
        )

    @extend_schema(responses={(200, "image/jpeg"): bytes, 304: None})
    @action(detail=True)
    def thumbnail(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """Return a JPEG of the file's picture of at most 256 px; 404 until a worker has decoded the file."""
        row = Thumbnail.objects.filter(source=self.get_object()).first()
        if row is None:
            raise NotFound
        version = f"{row.source_fingerprint}-{row.version}"
        return bytes_response(request, bytes(row.image), content_type="image/jpeg", version=version)


class ProxyFilter(StrictFilterSet):
    source = IdFilter(field_name="source_id", help_text="The original's id.")
    profile = filters.CharFilter()
    file_type = filters.ChoiceFilter(choices=Proxy.FileType.choices)

    class Meta:
        model = Proxy
        fields: list[str] = []


class ProxyViewSet(
    StrictAddressMixin,
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[Proxy],
):
    """Proxies: list, retrieve and delete. They are made through their files."""

    queryset = Proxy.objects.all()
    serializer_class = ProxySerializer
    filter_backends = [filters.DjangoFilterBackend]
    filterset_class = ProxyFilter
    pagination_class = NewestFirst
    permission_classes = [ActionPermissions]
    # A proxy shows its original, so viewing it needs the same permission.
    action_permissions = {
        "list": "media_files.view_mediafile",
        "retrieve": "media_files.view_mediafile",
        "content": "media_files.view_mediafile",
        "destroy": "proxies.delete_proxy",
    }
    further_errors: dict[str, dict[int, Any]] = {"content": {422: FaultSerializer}}

    @extend_schema(responses={(200, "application/octet-stream"): bytes, 304: None})
    @action(detail=True)
    def content(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """Return the proxy's bytes; a missing or damaged proxy is made again first."""
        row = self.get_object()
        try:
            return _send(request, row)
        except SourceMissing as error:
            return _send(request, make_again(row, error))


def _of_last_item(field: str) -> Subquery:
    """Return a field of a file's last batch item; null if it was never in a batch."""
    return Subquery(BatchItem.objects.filter(file=OuterRef("pk")).order_by("-id").values(field)[:1])


def _send(request: Request, row: Proxy) -> HttpResponseBase:
    name = str(row.image.name)
    return file_response(
        request,
        proxies_storage(),
        name,
        content_type=_content_type(row),
        size=row.bytes,
        sha256=row.sha256,
        filename=name.rpartition("/")[2],
    )


def _content_type(row: Proxy) -> str:
    if row.file_type == Proxy.FileType.IMAGE:
        return CONTENT_TYPES.get(row.format, "")
    return f"video/{row.format.lower()}"


def _answer(result: ProxyResult, request: Request) -> dict[str, Any]:
    """Return the keys that existing clients read, along with the current ones."""
    source, proxy = result.source, result.proxy
    sent = proxy.bytes if proxy else source.bytes
    return {
        "proxy_id": proxy.pk if proxy else None,
        "source_id": source.pk,
        "original_size_bytes": source.bytes,
        "proxy_size_bytes": proxy.bytes if proxy else None,
        "savings_percent": savings_percent(source.bytes, sent),
        "original_dimensions": [source.width, source.height],
        "proxy_dimensions": [proxy.width, proxy.height] if proxy else None,
        "outcome": result.outcome,
        "reasons": result.reason_codes,
        "url": reverse("proxy-content", args=[proxy.pk], request=request) if proxy else None,
    }
