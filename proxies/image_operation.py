"""Image proxies as an operation of the batches: reading and storing overlap with rendering."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import QuerySet

from media_files.errors import MediaError
from media_files.models import MediaFile
from media_files.storage import SourceChanged
from proxies import signals
from proxies.batches.operations import Operation, Parameters, register
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.batches.work import Work
from proxies.conf import conf
from proxies.models import BatchItem
from proxies.planning import plan_image_proxies
from proxies.profiles import ProxyProfile
from proxies.queries import with_outcome
from proxies.services import ImageProxyService, LeaseLost, ProxyBusy, ProxyResult


class ImageProxyOperation(Operation):
    name = "image-proxy"
    label = "Image Proxies (Nova)"
    description = (
        "Makes of each selected image a small upright JPEG or PNG, shorter side 896 px, for the model to "
        "read; originals are not changed."
    )
    permission = "proxies.add_proxy"
    options: ClassVar = {"force": "Make proxies again even where a current one stands."}

    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[Any]:
        return with_outcome(files, _profile(parameters), force=_force(parameters))

    def plan(self, selection: Selection, parameters: Parameters) -> Plan:
        return plan_image_proxies(selection, _profile(parameters), force=_force(parameters))

    def perform(self, work: Work) -> None:
        service = ImageProxyService(profile=_profile(work.batch.parameters))
        for item in work:
            _make(service, work, item)


def _make(service: ImageProxyService, work: Work, item: BatchItem) -> None:
    """One item, from begin to record. Whatever is wrong with its file ends here."""
    try:
        making = service.begin(item.file_id, force=_force(work.batch.parameters))
    except ProxyBusy:
        work.put_back(item)
        return
    except MediaError as error:
        work.fail(item, error)
        return
    if isinstance(making, ProxyResult):
        _record(work, item, making)
        return
    try:
        with service.fetch(making) as stream:
            if not work.charge(item):
                service.abandon(making)
                return
            rendered = service.render(making, stream)
        if rendered is not None:
            service.store(making, rendered)
        service.finish(making, rendered, within=lambda result: _record(work, item, result))
    except (SourceChanged, LeaseLost):
        service.abandon(making)
        work.put_back(item)
    except MediaError as error:
        service.abandon(making)
        work.fail(item, error)
        signals.proxy_failed.send_robust(ImageProxyService, source_id=item.file_id, error=error)
    except BaseException:
        service.abandon(making)
        raise


def _record(work: Work, item: BatchItem, result: ProxyResult) -> None:
    reasons = [reason.value for reason in result.reasons] or ["not_needed"]
    work.record(item, result.outcome, reasons)


def _profile(parameters: Parameters) -> ProxyProfile:
    return conf().profiles[parameters.get("profile", "nova")]


def _force(parameters: Parameters) -> bool:
    return bool(parameters.get("force", False))


register(ImageProxyOperation())
