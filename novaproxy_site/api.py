"""Compose the REST API from the three apps: originals, their proxies, their analyses."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.routers import DefaultRouter
from rest_framework.views import APIView

from analysis.api import AnalysisActionsMixin, AnalysisBatchMixin, AnalysisFilterMixin
from analysis.api_errors import AnalysisFaultSerializer
from media_files.api.files import MediaFileFilter, MediaFileSerializer, MediaFileViewSet, UploadSerializer
from media_files.api.schema import FaultSerializer
from proxies.api.batches import ProxyBatchViewSet
from proxies.api.proxies import ProxyActionsMixin, ProxyFieldsMixin, ProxyFilterMixin, ProxyViewSet


class FileSerializer(ProxyFieldsMixin, MediaFileSerializer):
    class Meta(MediaFileSerializer.Meta):
        fields = [*MediaFileSerializer.Meta.fields, *ProxyFieldsMixin.PROXY_FIELDS]
        read_only_fields = fields


class FileFilter(AnalysisFilterMixin, ProxyFilterMixin, MediaFileFilter):
    pass


class BatchFilesFilter(FileFilter):
    """The same filter, without paging."""

    ALSO_KNOWN = frozenset()


@extend_schema_view(
    create=extend_schema(
        request={"multipart/form-data": UploadSerializer},
        responses={200: FileSerializer, 201: FileSerializer},
    ),
)
class FileViewSet(AnalysisActionsMixin, ProxyActionsMixin, MediaFileViewSet):
    """Originals, their proxies and their analyses."""

    serializer_class = FileSerializer
    filterset_class = FileFilter
    action_permissions = {
        **MediaFileViewSet.action_permissions,
        "create_image_proxy": "proxies.add_proxy",
        "analyze": "analysis.add_analysis",
        "analyses": "media_files.view_mediafile",
        "forget": "media_files.delete_mediafile",
        "thumbnail": "media_files.view_mediafile",
    }
    further_errors = {
        **MediaFileViewSet.further_errors,
        "create_image_proxy": {422: FaultSerializer},
        "analyze": dict.fromkeys((409, 413, 422, 503), AnalysisFaultSerializer),
    }


class BatchViewSet(AnalysisBatchMixin, ProxyBatchViewSet):
    """Batches of every operation, addressed by number or by ``job_id``."""

    files_filter = BatchFilesFilter
    action_permissions = {**ProxyBatchViewSet.action_permissions, "analyze": "analysis.add_analysis"}


@extend_schema(exclude=True)
class NoSuchAddressView(APIView):
    """Answer any unknown address under /api with the API's 404 error."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        super().initial(request, *args, **kwargs)
        raise NotFound


def without_trailing_slash(endpoints: list[tuple[str, ...]], **kwargs: Any) -> list[tuple[str, ...]]:
    """Strip trailing slashes, so that the schema lists the canonical addresses."""
    return [(path.rstrip("/") or "/", *rest) for path, *rest in endpoints]


router = DefaultRouter()
# Canonical addresses have no trailing slash, but both forms work.
router.trailing_slash = "/?"
router.include_format_suffixes = False
router.register("files", FileViewSet, basename="file")
router.register("proxies", ProxyViewSet, basename="proxy")
router.register("batch", BatchViewSet, basename="batch")
