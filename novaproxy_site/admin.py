"""The admin, composed: originals from one app, what is made of them from the others."""

from __future__ import annotations

from django.contrib import admin

from media_files.admin import MediaFileAdmin
from media_files.models import MediaFile
from proxies.admin import ProxyAdmin, ProxyFileAdminMixin, QuarantineAdmin, WorkerStateAdmin
from proxies.admin_batches import BatchAdmin, BatchItemAdmin
from proxies.models import Batch, BatchItem, Proxy, Quarantine, WorkerState


class FileAdmin(ProxyFileAdminMixin, MediaFileAdmin):
    """Originals and their proxies."""


admin.site.register(MediaFile, FileAdmin)
admin.site.register(Proxy, ProxyAdmin)
admin.site.register(Batch, BatchAdmin)
admin.site.register(BatchItem, BatchItemAdmin)
admin.site.register(Quarantine, QuarantineAdmin)
admin.site.register(WorkerState, WorkerStateAdmin)
