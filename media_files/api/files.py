"""REST API classes for originals. Other apps add theirs; the site combines them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.forms import IntegerField
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
from media_files.free_text import text_fault
from media_files.models import MediaFile
from media_files.services import add_file
from media_files.serving import file_response
from media_files.storage.base import media_storage

LARGEST_ID: Final = 2**63 - 1
_FIRST: Final = datetime.min.replace(tzinfo=UTC)
_LAST: Final = datetime.max.replace(tzinfo=UTC)
NAMED: Final = 5
"""How many unknown names an error lists."""

PAGING: Final = frozenset({"cursor", "page_size"})
# Forms of this site's pages send this field along.
_CSRF_FIELD: Final = "csrfmiddlewaretoken"


class NewestFirst(CursorPagination):
    """Cursor pagination: stable while rows are added and deleted, and equally fast on every page."""

    ordering = "-id"
    page_size = 100
    page_size_query_param = "page_size"
    max_page_size = 1000

    def get_page_size(self, request: Request) -> int:
        """Return the requested page size. An invalid one is an error, never silently replaced."""
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
        # Our cursors hold ids. Made-up values must not reach the database.
        if cursor is not None and cursor.position is not None and not _is_id(str(cursor.position)):
            raise _no_cursor()
        return cursor


class StrictSerializer(serializers.Serializer[Any]):
    """A small body in which a misspelt key is an error instead of being ignored."""

    def to_internal_value(self, data: Any) -> Any:
        known = ", ".join(self.fields) or "none"
        unknown = sorted(str(key) for key in data if not self._knows(str(key)))
        faults: dict[str, Any] = unknown_names(unknown, f"Unknown key. Known are: {known}.")
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
        # Forms send {"filter": {"type": ...}} as filter.type=...
        name, dot, _ = key.partition(".")
        return key in self.fields or (bool(dot) and isinstance(self.fields.get(name), serializers.DictField))


def unknown_names(names: Sequence[str], message: str) -> dict[str, list[str]]:
    """Return an error for each of the first few names; the last one counts the others."""
    faults = {name: [message] for name in names[:NAMED]}
    if len(names) > NAMED:
        faults[names[NAMED - 1]].append(f"There are {len(names) - NAMED:,} more like it.")
    return faults


class OneFileField(serializers.FileField):
    """The only file of a form. DRF would silently drop all but the last of several."""

    def get_value(self, dictionary: Any) -> Any:
        name = str(self.field_name)
        # Without a body, DRF passes a plain dictionary.
        files = dictionary.getlist(name) if isinstance(dictionary, MultiValueDict) else []
        if len(files) > 1:
            raise ValidationError(
                {name: [f"{len(files)} files came in one upload. Send each file in a separate request."]}
            )
        return super().get_value(dictionary)


class UploadSerializer(StrictSerializer):
    """A photo or video, sent as the ``file`` part of a multipart body."""

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
    """Filters that reject misspelt names, which would otherwise return everything."""

    ALSO_KNOWN = PAGING

    def is_valid(self) -> bool:
        super().is_valid()
        for key, fault in self._faults():
            self.errors[key] = cast(Any, self.form.error_class([fault]))
        return not self.errors

    def _faults(self) -> Iterator[tuple[str, str]]:
        data = self.data or {}
        names = [*self.filters, *sorted(self.ALSO_KNOWN)]
        message = f"Unknown parameter. Known are: {', '.join(names)}."
        for key, faults in unknown_names(sorted(set(data) - set(names)), message).items():
            yield key, " ".join(faults)
        for key in sorted(set(data) & set(names)):
            times = len(data.getlist(key)) if isinstance(data, MultiValueDict) else 1
            value = data[key]
            if times > 1:
                yield key, f"Given {times} times. Only one would count: give it once."
            elif isinstance(value, str) and not _is_text(value):
                yield key, "That is no text: half a character is in it."
            elif value == "" and key in self.filters:
                yield key, "This filter is empty. Leave it out, or give it a value."
            elif fault := text_fault(str(value)):
                yield key, fault


class LengthRequired(APIException):
    """A chunked body has no Content-Length and would be treated as empty."""

    status_code = status.HTTP_411_LENGTH_REQUIRED
    default_detail = "A body in chunks is not read here. Send it whole, with its Content-Length."
    default_code = "length_required"


class StrictAddressMixin(viewsets.ViewSet):
    """Reject unknown query parameters: otherwise ``?dry_run=true`` would start a batch."""

    FILTERED = frozenset({"list", "items"})
    """Actions whose filter set validates the parameters."""

    PAGED = frozenset({"analyses"})
    """Actions that return pages without filters."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        if "HTTP_TRANSFER_ENCODING" in request.META:
            raise LengthRequired
        # An unsupported method has no action; DRF answers it with 405.
        if self.action is None or self.action in self.FILTERED:
            return
        known = PAGING if self.action in self.PAGED else frozenset()
        if unknown := sorted(set(request.query_params) - known):
            reported = f"Known are: {', '.join(sorted(known))}." if known else "This address takes none."
            advice = " Say it in the body." if request.method == "POST" else ""
            raise ValidationError({key: [f"Unknown parameter. {reported}{advice}"] for key in unknown})


class MomentFilter(filters.IsoDateTimeFilter):
    """An ISO 8601 date and time. Without an offset, it is in the configured time zone."""

    def filter(self, qs: QuerySet[Any], value: datetime | None) -> QuerySet[Any]:
        if value is not None:
            try:
                value = value.astimezone(UTC)
            except OverflowError:
                # The first or last day of the calendar can overflow when converted to UTC.
                value = _FIRST if value.year == 1 else _LAST
        return super().filter(qs, value)


class IdFilter(filters.NumberFilter):
    """The id of another row: a whole number from 1."""

    field_class = IntegerField  # type: ignore[assignment] # a whole number; the base takes decimals

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=1, max_value=LARGEST_ID, **options)


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
    """List, show, upload and delete originals."""

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
        # DRF asks for parsers before it sets `action`.
        method = str(self.request.method).lower() if self.request else ""
        if self.action_map.get(method) == "create":
            return [UploadParser()]
        return cast(list[Any], super().get_parsers())

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # First of all, because looking up the session's user reads the body of a form.
        if self.action == "create":
            refuse_too_long(request.META.get("CONTENT_LENGTH"), upload=True)
        super().initial(request, *args, **kwargs)

    def create(self, request: Request) -> Response:
        """Upload an original. If the same bytes already exist, return 200 with the existing row."""
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
        """Return the original's bytes."""
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
    except UnicodeEncodeError:  # JSON can contain lone surrogates
        return False
    return True


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 19
