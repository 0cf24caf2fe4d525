"""The models of proxies, of the ledger and of the processes that work on it."""

from proxies.models.batch import Batch, BatchItem, BatchItemQuerySet
from proxies.models.failure import ProxyFailure, Quarantine
from proxies.models.lease import ProxyLease
from proxies.models.proxy import (
    DiscardedProxy,
    MeasuredImageField,
    Proxy,
    ProxyQuerySet,
    Thumbnail,
    proxies_storage,
)
from proxies.models.worker import Heartbeat, WorkerSlot, WorkerState

__all__ = [
    "Batch",
    "BatchItem",
    "BatchItemQuerySet",
    "DiscardedProxy",
    "Heartbeat",
    "MeasuredImageField",
    "Proxy",
    "ProxyFailure",
    "ProxyLease",
    "ProxyQuerySet",
    "Quarantine",
    "Thumbnail",
    "WorkerSlot",
    "WorkerState",
    "proxies_storage",
]
