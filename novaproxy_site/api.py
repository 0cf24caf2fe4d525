"""The REST API, composed: originals from one app, what is made of them from the others."""

from __future__ import annotations

from rest_framework.routers import DefaultRouter

from media_files.api import MediaFileFilter, MediaFileSerializer, MediaFileViewSet
from proxies.api import ProxyActionsMixin, ProxyFieldsMixin, ProxyFilterMixin, ProxyViewSet
from proxies.api_batches import ProxyBatchViewSet


class FileSerializer(ProxyFieldsMixin, MediaFileSerializer):
    class Meta(MediaFileSerializer.Meta):
        fields = [*MediaFileSerializer.Meta.fields, *ProxyFieldsMixin.PROXY_FIELDS]
        read_only_fields = fields


class FileFilter(ProxyFilterMixin, MediaFileFilter):
    pass


class FileViewSet(ProxyActionsMixin, MediaFileViewSet):
    """Originals and their proxies."""

    serializer_class = FileSerializer
    filterset_class = FileFilter
    action_permissions = {
        **MediaFileViewSet.action_permissions,
        "create_image_proxy": "proxies.add_proxy",
    }


router = DefaultRouter()
# Canonical addresses have no trailing slash; with one they work as well.
router.trailing_slash = "/?"
router.register("files", FileViewSet, basename="file")
router.register("proxies", ProxyViewSet, basename="proxy")
router.register("batch", ProxyBatchViewSet, basename="batch")
