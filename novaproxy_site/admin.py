"""Compose the admin from the three apps: originals, their proxies, their analyses."""

from __future__ import annotations

from django.contrib import admin
from django_q.models import Failure, OrmQ, Schedule, Success

from analysis.admin import AnalysisAdmin, AnalysisFileAdminMixin
from analysis.models import Analysis
from media_files.admin import MediaFileAdmin
from media_files.models import MediaFile
from proxies.admin.batches import BatchAdmin, BatchItemAdmin
from proxies.admin.proxies import ProxyAdmin, ProxyFileAdminMixin, QuarantineAdmin, WorkerStateAdmin
from proxies.models import Batch, BatchItem, Proxy, Quarantine, WorkerState


class FileAdmin(AnalysisFileAdminMixin, ProxyFileAdminMixin, MediaFileAdmin):
    """Originals, their proxies and their analyses."""


# Hide django-q2's own tables: deleting a schedule there would stop the sweeper for good, and its failures are
# tracebacks that name no file. Batches show what failed, and worker states show who is working.
# (Which of these models django-q2 registers depends on the broker.)
queue = (Failure, OrmQ, Schedule, Success)
admin.site.unregister(model for model in queue if admin.site.is_registered(model))

admin.site.register(MediaFile, FileAdmin)
admin.site.register(Proxy, ProxyAdmin)
admin.site.register(Analysis, AnalysisAdmin)
admin.site.register(Batch, BatchAdmin)
admin.site.register(BatchItem, BatchItemAdmin)
admin.site.register(Quarantine, QuarantineAdmin)
admin.site.register(WorkerState, WorkerStateAdmin)
