"""The REST API, composed: originals from one app, what is made of them from the others."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.routers import DefaultRouter

from media_files.api import MediaFileFilter, MediaFileSerializer, MediaFileViewSet, UploadSerializer
from media_files.api_schema import FaultSerializer
from proxies.api import ProxyActionsMixin, ProxyFieldsMixin, ProxyFilterMixin, ProxyViewSet
from proxies.api_batches import ProxyBatchViewSet


class FileSerializer(ProxyFieldsMixin, MediaFileSerializer):
    class Meta(MediaFileSerializer.Meta):
        fields = [*MediaFileSerializer.Meta.fields, *ProxyFieldsMixin.PROXY_FIELDS]
        read_only_fields = fields


class FileFilter(ProxyFilterMixin, MediaFileFilter):
    pass


@extend_schema_view(
    create=extend_schema(
        request={"multipart/form-data": UploadSerializer},
        responses={200: FileSerializer, 201: FileSerializer},
    ),
)
class FileViewSet(ProxyActionsMixin, MediaFileViewSet):
    """Originals and their proxies."""

    serializer_class = FileSerializer
    filterset_class = FileFilter
    action_permissions = {
        **MediaFileViewSet.action_permissions,
        "create_image_proxy": "proxies.add_proxy",
    }
    further_errors = {**MediaFileViewSet.further_errors, "create_image_proxy": {422: FaultSerializer}}


def without_trailing_slash(endpoints: list[tuple[str, ...]], **kwargs: Any) -> list[tuple[str, ...]]:
    """For the schema: the canonical addresses."""
    return [(path.rstrip("/") or "/", *rest) for path, *rest in endpoints]


router = DefaultRouter()
# Canonical addresses have no trailing slash; with one they work as well.
router.trailing_slash = "/?"
router.include_format_suffixes = False
router.register("files", FileViewSet, basename="file")
router.register("proxies", ProxyViewSet, basename="proxy")
router.register("batch", ProxyBatchViewSet, basename="batch")
