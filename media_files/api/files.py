"""The REST API's parts for originals; other apps add theirs, and the site composes them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final, cast

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.utils.datastructures import MultiValueDict
from django_filters import rest_framework as filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, serializers, status, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from media_files.api.parsers import UploadParser, refuse_too_long
from media_files.api.permissions import ActionPermissions
from media_files.api.schema import FaultSerializer
from media_files.models import MediaFile
from media_files.services import add_file
from media_files.serving import file_response
from media_files.storage.base import media_storage

_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
PAGING: Final = frozenset({"cursor", "page_size"})
# What the form of a page of this site brings along.
_CSRF_FIELD: Final = "csrfmiddlewaretoken"


class NewestFirst(CursorPagination):
    """Pages that stay right while rows come and go, and cost the same however deep."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_page_size(self, request: Request) -> int:
        """The caller's own, which is never quietly another than asked for."""
        text = request.query_params.get("page_size")
        if text is None:
            return self.page_size
        if not _is_id(text) or not 1 <= int(text) <= self.max_page_size:
            raise ValidationError({"page_size": [f"Give a whole number from 1 to {self.max_page_size:,}."]})
        return int(text)

    def decode_cursor(self, request: Request) -> Cursor | None:
        try:
            cursor = super().decode_cursor(request)
        except NotFound as error:
            raise _no_cursor() from error
        # Ours are ids; somebody's own invention must not reach the database.
        if cursor is not None and cursor.position is not None and not _is_id(str(cursor.position)):
            raise _no_cursor()
        return cursor


class StrictSerializer(serializers.Serializer[Any]):
    """A small body in which a misspelt key is an error, not a wish ignored."""

    def to_internal_value(self, data: Any) -> Any:
        known = ", ".join(self.fields) or "none"
        unknown = sorted(str(key) for key in data if not self._knows(str(key)))
        faults: dict[str, Any] = {key: [f"Unknown key. Known are: {known}."] for key in unknown}
        try:
            value = super().to_internal_value(data)
        except ValidationError as error:
            faults |= cast(dict[str, Any], error.detail)
        if faults:
            raise ValidationError(faults)
        return value

    def _knows(self, key: str) -> bool:
        if key == _CSRF_FIELD:
            return True
        # A form says {"filter": {"type": ...}} as filter.type=...
        name, dot, _ = key.partition(".")
        return key in self.fields or (bool(dot) and isinstance(self.fields.get(name), serializers.DictField))


class OneFileField(serializers.FileField):
    """The one file of a form: of several only the last would be seen."""

    def get_value(self, dictionary: Any) -> Any:
        name = str(self.field_name)
        # A request without a body gives a plain dictionary.
        files = dictionary.getlist(name) if isinstance(dictionary, MultiValueDict) else []
        if len(files) > 1:
            raise ValidationError(
                {name: [f"{len(files)} files came in one upload. Send each file in a separate request."]}
            )
        return super().get_value(dictionary)


class UploadSerializer(StrictSerializer):
    """A photograph or a video, as the part ``file`` of a multipart body."""

    file = OneFileField(allow_empty_file=True, max_length=None, use_url=False)


class MediaFileSerializer(serializers.ModelSerializer[MediaFile]):
    url = serializers.HyperlinkedIdentityField(view_name="file-detail")
    content_url = serializers.SerializerMethodField(help_text="The original's bytes.")

    class Meta:
        model = MediaFile
        fields = [
            "id", "url", "content_url", "original_name", "file_type", "format", "content_type", "bytes",
            "sha256", "width", "height", "orientation", "mode", "frames", "has_location", "has_metadata",
            "standard_colour", "captured_at", "managed", "uploader", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_content_url(self, row: MediaFile) -> str:
        return reverse("file-content", args=[row.pk], request=self.context.get("request"))


class StrictFilterSet(filters.FilterSet):
    """Filters of which a misspelt one is an error: it would else answer with everything."""

    ALSO_KNOWN = PAGING

    def is_valid(self) -> bool:
        super().is_valid()
        for key, fault in self._faults():
            self.errors[key] = cast(Any, self.form.error_class([fault]))
        return not self.errors

    def _faults(self) -> Iterator[tuple[str, str]]:
        data = self.data or {}
        known = ", ".join([*self.filters, *sorted(self.ALSO_KNOWN)])
        for key, value in sorted(data.items()):
            times = len(data.getlist(key)) if isinstance(data, MultiValueDict) else 1
            if key not in self.filters and key not in self.ALSO_KNOWN:
                yield key, f"Unknown parameter. Known are: {known}."
            elif times > 1:
                yield key, f"Given {times} times. Only one would count: give it once."
            elif isinstance(value, str) and not _is_text(value):
                yield key, "That is no text: half a character is in it."


class LengthRequired(APIException):
    """A body in chunks announces no length, and would be taken for none."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "A body in chunks is not read here. Send it whole, with its Content-Length."
    default_code = "length_required"


class StrictAddressMixin(viewsets.ViewSet):
    """A parameter that an address does not take is an error: ``?dry_run=true`` would else start a batch."""

    FILTERED = frozenset({"list", "items"})
    """Actions whose filters judge their parameters."""

    PAGED = frozenset({"analyses"})
    """Actions that answer with pages of everything."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            raise LengthRequired
        # A method that is not there has no action, and is answered with 405.
        if self.action is None or self.action in self.FILTERED:
            return
        known = PAGING if self.action in self.PAGED else frozenset()
        if unknown := sorted(set(request.query_params) - known):
            told = f"Known are: {', '.join(sorted(known))}." if known else "This address takes none."
            advice = " Say it in the body." if request.method == "POST" else ""
            raise ValidationError({key: [f"Unknown parameter. {told}{advice}"] for key in unknown})


class MomentFilter(filters.IsoDateTimeFilter):
    """A moment in ISO 8601; without an offset in the time zone of the settings."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        if value is not None:
            try:
                value = value.astimezone(UTC)
            except OverflowError:
                # On the calendar's first or last day, beyond it in UTC.
                value = _FIRST if value.year == 1 else _LAST
        return super().filter(qs, value)


class MediaFileFilter(StrictFilterSet):
    type = filters.ChoiceFilter(field_name="file_type", choices=MediaFile.FileType.choices)
    name = filters.CharFilter(field_name="original_name", lookup_expr="icontains")
    format = filters.CharFilter(field_name="format", lookup_expr="iexact")
    updated_since = MomentFilter(field_name="updated_at", lookup_expr="gte")

    class Meta:
        model = MediaFile
        fields: list[str] = []


class MediaFileViewSet(
    StrictAddressMixin,
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
    further_errors: dict[str, dict[int, Any]] = {
        "create": {422: FaultSerializer},
        "content": {422: FaultSerializer},
    }

    def get_parsers(self) -> list[Any]:
        # `action` is not known yet where DRF asks for parsers.
        method = str(self.request.method).lower() if self.request else ""
        if self.action_map.get(method) == "create":
            return [UploadParser()]
        return cast(list[Any], super().get_parsers())

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Before anything else: to ask for the session's user reads the body of a form.
        if self.action == "create":
            refuse_too_long(request.META.get("CONTENT_LENGTH"), upload=True)
        super().initial(request, *args, **kwargs)

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

    @extend_schema(responses={(200, "application/octet-stream"): bytes, 304: None})
    @action(detail=True)
    def content(self, request: Request, pk: str | None = None) -> HttpResponseBase:
        """The original's bytes."""
        row = self.get_object()
        return file_response(
            request,
            media_storage(row.storage_alias),
            str(row.file.name),
            content_type=row.content_type,
            size=row.bytes if row.sha256 else None,
            sha256=row.sha256,
            filename=row.original_name,
        )


def _no_cursor() -> ValidationError:
    return ValidationError(
        {"cursor": ["That is no cursor of this list. Follow `next` and `previous` as they are given."]}
    )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # JSON can name halves of surrogate pairs
        return False
    return True


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
