"""The REST API's parts for originals; other apps add theirs, and the site composes them."""

from __future__ import annotations

from typing import Any, cast

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django_filters import rest_framework as filters
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import CursorPagination
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from media_files.conf import limits
from media_files.errors import FileTooLarge
from media_files.models import MediaFile
from media_files.permissions import ActionPermissions
from media_files.services import add_file
from media_files.serving import file_response
from media_files.storage import media_storage


class NewestFirst(CursorPagination):
    """Pages that stay right while rows come and go, and cost the same however deep."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000


class StrictSerializer(serializers.Serializer[Any]):
    """A small body in which a misspelt key is an error, not a wish ignored."""

    def to_internal_value(self, data: Any) -> Any:
        value = super().to_internal_value(data)
        if unknown := sorted(set(data) - set(self.fields)):
            known = ", ".join(self.fields)
            raise ValidationError({key: [f"Unknown key. Known are: {known}."] for key in unknown})
        return value


class UploadSerializer(serializers.Serializer[Any]):
    """A photograph or a video, as the part ``file`` of a multipart body."""

    file = serializers.FileField(allow_empty_file=True, max_length=None, use_url=False)


class MediaFileSerializer(serializers.ModelSerializer[MediaFile]):
    url = serializers.HyperlinkedIdentityField(view_name="file-detail")
    content_url = serializers.SerializerMethodField(help_text="The original's bytes.")

    class Meta:
        model = MediaFile
        fields = [
            "id", "url", "content_url", "original_name", "file_type", "format", "content_type", "bytes",
            "sha256", "width", "height", "orientation", "mode", "frames", "has_location", "standard_colour",
            "captured_at", "managed", "uploader", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_content_url(self, row: MediaFile) -> str:
        return reverse("file-content", args=[row.pk], request=self.context.get("request"))


class MediaFileFilter(filters.FilterSet):
    type = filters.ChoiceFilter(field_name="file_type", choices=MediaFile.FileType.choices)
    name = filters.CharFilter(field_name="original_name", lookup_expr="icontains")
    format = filters.CharFilter(field_name="format", lookup_expr="iexact")
    updated_since = filters.IsoDateTimeFilter(field_name="updated_at", lookup_expr="gte")

    class Meta:
        model = MediaFile
        fields: list[str] = []


class MediaFileViewSet(
    mixins.ListModelMixin,
    mixins.RetrieveModelMixin,
    mixins.DestroyModelMixin,
    viewsets.GenericViewSet[MediaFile],
):
    """Originals: listed, shown, uploaded, deleted."""

    queryset: QuerySet[MediaFile] = MediaFile.objects.all()
    serializer_class: type[MediaFileSerializer] = MediaFileSerializer
    filterset_class: type[MediaFileFilter] = MediaFileFilter
    filter_backends = [filters.DjangoFilterBackend]
    pagination_class = NewestFirst
    permission_classes = [ActionPermissions]
    action_permissions = {
        "list": "media_files.view_mediafile",
        "retrieve": "media_files.view_mediafile",
        "content": "media_files.view_mediafile",
        "create": "media_files.add_mediafile",
        "destroy": "media_files.delete_mediafile",
    }

    def get_parsers(self) -> list[Any]:
        # `action` is not known yet where DRF asks for parsers.
        method = str(self.request.method).lower() if self.request else ""
        if self.action_map.get(method) == "create":
            return [MultiPartParser()]
        return cast(list[Any], super().get_parsers())

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if self.action == "create":
            _refuse_too_long(request)

    def create(self, request: Request) -> Response:
        """Upload an original. The same bytes again answer 200 with the row that is there."""
        body = UploadSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        upload: UploadedFile[Any] = body.validated_data["file"]
        row, is_new = add_file(cast(Any, upload.file), upload.name or "", uploader=cast(Any, request.user))
        data = self.get_serializer(self.get_queryset().get(pk=row.pk)).data
        return Response(
            data,
            status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK,
            headers={"Location": data["url"]},
        )

    @action(detail=True)
    def content(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """The original's bytes."""
        row = self.get_object()
        return file_response(
            request,
            media_storage(row.storage_alias),
            str(row.file.name),
            content_type=row.content_type,
            sha256=row.sha256,
            filename=row.original_name,
        )


def _refuse_too_long(request: Request) -> None:
    """Before a byte of the body is read. The parts' headers and boundaries are small beside 64 KB."""
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    most = limits().max_bytes
    if length > most + 65_536:
        raise FileTooLarge(
            f"The upload has {length:,} bytes; {most:,} are allowed. Send a smaller file, or have "
            "NOVAPROXY_MAX_UPLOAD raised."
        )
