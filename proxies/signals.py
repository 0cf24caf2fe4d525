"""Signals of proxies and batches.

After the commit: ``proxy_ready`` (source, proxy, outcome), ``proxy_failed`` (source_id, error), and
``batch_finished`` (batch). Inside the transaction: ``proxy_lost`` (source_id, profile), after an interrupted
write destroyed a proxy, so that its receiver can enqueue the work in the same transaction.
"""

from django.dispatch import Signal

proxy_ready = Signal()
proxy_failed = Signal()
batch_finished = Signal()
proxy_lost = Signal()
