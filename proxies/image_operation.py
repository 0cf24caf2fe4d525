"""Image proxies as an operation of the batches."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.db.models import QuerySet

from media_files.models import MediaFile
from proxies.batches import lifecycle
from proxies.batches.claim import Claim
from proxies.batches.lifecycle import WrongState
from proxies.batches.operations import Operation, Parameters, register
from proxies.batches.plan import Plan
from proxies.batches.selection import Selection
from proxies.conf import conf
from proxies.pipeline import AssemblyLine
from proxies.planning import plan_image_proxies
from proxies.queries import with_outcome
from proxies.rendering.profiles import ProxyProfile
from proxies.services import ImageProxyService


class ImageProxyOperation(Operation):
    name = "image-proxy"
    permission = "proxies.add_proxy"

    def parameters(self, given: Mapping[str, Any]) -> dict[str, Any]:
        return {"force": bool(given.get("force")), "profile": given.get("profile") or "nova"}

    def annotate(self, files: QuerySet[MediaFile], parameters: Parameters) -> QuerySet[Any]:
        return with_outcome(
            files, _profile(parameters), force=_force(parameters), retry_failed=_retry(parameters)
        )

    def plan(self, selection: Selection, parameters: Parameters) -> Plan:
        return plan_image_proxies(
            selection, _profile(parameters), force=_force(parameters), retry_failed=_retry(parameters)
        )

    def perform(self, claim: Claim) -> None:
        parameters = claim.batch.parameters
        try:
            profile = _profile(parameters)
        except KeyError as missing:
            reason = f"There is no profile {missing} any more. Set it in NOVAPROXY_PROFILES."
            with suppress(WrongState):  # another worker or a person changed it first
                lifecycle.pause(claim.batch, reason=reason, code="not_configured")
            return
        service = ImageProxyService(profile=profile)
        AssemblyLine(service, claim, force=_force(parameters)).run()


def _profile(parameters: Parameters) -> ProxyProfile:
    return conf().profiles[parameters.get("profile", "nova")]


def _force(parameters: Parameters) -> bool:
    return bool(parameters.get("force", False))


def _retry(parameters: Parameters) -> bool:
    """Return whether to plan failed files as retried; no batch stores this parameter."""
    return bool(parameters.get("retry_failed", False))


register(ImageProxyOperation())
