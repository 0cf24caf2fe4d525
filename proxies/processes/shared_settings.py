"""Compare the settings that all machines of an installation must share, without revealing their values.

Each worker stores a digest of each setting, keyed with SECRET_KEY, so the table reveals no value and cannot
confirm a guess. If the keys differ, nothing else can be compared.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
from collections.abc import Iterable
from typing import Any, Final

from django.conf import settings
from django.utils.translation import gettext as _

from proxies.conf import conf, shared_setting
from proxies.models.worker import WorkerState
from proxies.processes.identity import this_process
from proxies.rendering.profiles import recipe_difference

logger = logging.getLogger(__name__)

SECRET_KEY: Final = "SECRET_KEY"  # noqa: S105 - its name
SHARED: Final = (
    "NOVAPROXY_TARGET",
    "NOVAPROXY_LONGEST_SIDE",
    "NOVAPROXY_QUALITY",
    "NOVAPROXY_PROFILES",
    "NOVAPROXY_RESIZER",
    "NOVAPROXY_MAX_PIXELS",
    "NOVAPROXY_BROKER",
    "NOVAPROXY_ANALYSIS_REGION",
    "NOVAPROXY_ANALYSIS_SEND",
    "NOVAPROXY_ANALYSIS_MODEL",
    "NOVAPROXY_ANALYSIS_MAX_TOKENS",
    "NOVAPROXY_ANALYSIS_TEMPERATURE",
    "NOVAPROXY_ANALYSIS_REASONING",
    "NOVAPROXY_ANALYSIS_SERVICE_TIER",
    "NOVAPROXY_ANALYSIS_CALLS_PER_SECOND",
    "NOVAPROXY_ANALYSIS_BUDGET",
    "NOVAPROXY_ANALYSIS_FEATURES",
    "NOVAPROXY_ANALYSIS_CUSTOM_MODELS",
    "NOVAPROXY_ANALYSIS_BIOMETRICS",
    "NOVAPROXY_ANALYSIS_MIN_CONFIDENCE",
)
# Each machine may mount a folder at a different path, but a bucket is the same everywhere.
BUCKETS: Final = {
    "originals": "NOVAPROXY_ORIGINALS_",
    "proxies": "NOVAPROXY_PROXIES_",
    "analysis": "NOVAPROXY_ANALYSIS_",
}
_OPTIONS: Final = {
    "bucket_name": "BUCKET",
    "location": "PREFIX",
    "region_name": "REGION",
    "endpoint_url": "ENDPOINT",
}


def recipes() -> dict[str, str]:
    """Return the recipe of each profile of this process."""
    return {name: profile.recipe for name, profile in conf().profiles.items()}


def digests() -> dict[str, str]:
    """Return the digest of each shared setting of this process."""
    values: dict[str, Any] = {name: shared_setting(name) for name in SHARED}
    for alias, prefix in BUCKETS.items():
        options = settings.STORAGES.get(alias, {}).get("OPTIONS", {})
        bucket = options if "bucket_name" in options else {}
        values |= {prefix + name: bucket.get(option) for option, name in _OPTIONS.items()}
    return {name: _digest(value) for name, value in {SECRET_KEY: "", **values}.items()}


def differences(worker: WorkerState) -> list[str]:
    """Return the names of the settings whose values differ between a worker and this process.

    A setting that exists in only one of the two versions is not compared.
    """
    ours, theirs = digests(), worker.settings or {}
    if theirs.get(SECRET_KEY, ours[SECRET_KEY]) != ours[SECRET_KEY]:
        return [SECRET_KEY]
    return [name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name]]


def difference_in_words(worker: WorkerState) -> str:
    """Return a readable description of how a worker differs from this process; empty if it does not."""
    if worker.recipes is None:
        return _("It is of an older version.")
    parts = []
    if names := sorted(differences(worker)):
        parts.append(_("Other values of %(names)s.") % {"names": ", ".join(names)})
    for profile, recipe in sorted(recipes().items()):
        theirs = worker.recipes.get(profile)
        if theirs is not None and theirs != recipe:
            difference = recipe_difference(recipe, [theirs])
            text = _("Its %(profile)s proxies: %(difference)s.")
            parts.append(text % {"profile": profile, "difference": difference})
    return " ".join(parts)


def warn(workers: Iterable[WorkerState], reported: set[tuple[int, str]]) -> None:
    """Log how running workers differ from this process, each difference once.

    Args:
        workers: the running ones.
        told: the differences already logged; new ones are added.
    """
    for worker in workers:
        difference = difference_in_words(worker)
        if worker.process == this_process() or not difference or (worker.pk, difference) in reported:
            continue
        reported.add((worker.pk, difference))
        logger.warning(
            "The worker on %s, process %d, differs from this process. %s "
            "All machines must share these settings (docs/scaling.md).",
            *(worker.host, worker.pid, difference),
        )


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hmac.new(settings.SECRET_KEY.encode(), text.encode(), hashlib.sha256).hexdigest()[:16]
